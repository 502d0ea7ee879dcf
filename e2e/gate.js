// A panel behind the gate: Sallyport's own gateway, the gateway with TLS, or nginx with the
// unchanged files of deploy/proxy. Browsers resolve every host below .localhost to this
// machine and treat each as a site of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from '@playwright/test';
import { freePort, run, sallyport, serve } from './portal.js';

const files = fileURLToPath(new URL('../deploy/proxy/nginx/', import.meta.url));
const [portalHost, panelHost] = ['auth.localhost', 'panel.localhost'];

// startGate starts a panel, a handler of node:http, behind frontend: 'gateway', 'tls' or
// 'nginx'. rules are further lines of Sallyport's configuration after the panel's first
// lines, or a function that returns them for the frontend's port and the panel's own
// address. upgrade handles upgraded connections.
export async function startGate(frontend, panel, rules = '', upgrade = undefined) {
	const dir = await mkdtemp(join(tmpdir(), 'sallyport-gate-'));
	await chmod(dir, 0o755); // nginx drops its privileges and must still find its directory
	const upstream = http.createServer(panel).listen(0, '127.0.0.1');
	if (upgrade) upstream.on('upgrade', upgrade);
	await once(upstream, 'listening');
	const own = `127.0.0.1:${upstream.address().port}`;
	const gate = await freePort();
	const port = frontend === 'nginx' ? await freePort() : gate;
	const scheme = frontend === 'tls' ? 'https' : 'http';
	const [portal, origin] = [`${scheme}://${portalHost}:${port}`, `${scheme}://${panelHost}:${port}`];
	await writeFile(join(dir, 'sallyport.yaml'), `public_url: ${portal}
${frontend === 'tls' ? await certificates(dir) : 'trusted_proxies: [127.0.0.1]'}
panels:
  - url: ${origin}
    ${frontend === 'nginx' ? 'require: session' : `upstream: http://${own}`}
${typeof rules === 'function' ? rules(port, own) : rules}`);
	const env = {
		PATH: process.env.PATH,
		SALLYPORT_CONFIG: join(dir, 'sallyport.yaml'),
		SALLYPORT_DATA_DIR: join(dir, 'data'),
		SALLYPORT_LISTEN: `127.0.0.1:${gate}`,
	};
	const server = await serve(env, dir);
	const proxy = frontend === 'nginx' ? await startNginx(dir, port, gate, own) : { stop: async () => {} };
	return {
		portal,
		panel: origin,

		async addAccount(name) {
			const password = `${name} likes long walks`;
			await run(sallyport, ['account', 'add', name, '--password-stdin'], { env, cwd: dir, input: password });
			return { name, password };
		},

		// addPass makes a machine pass to the panel on the command line.
		addPass: (owner, name) => run(sallyport, ['pass', 'add', owner, name, '--panel', origin], { env, cwd: dir }),

		// ask requests a page of the panel, without a browser.
		async ask(target, headers = {}) {
			const request = http.get({ host: '127.0.0.1', port, path: target, headers: { Host: new URL(origin).host, ...headers } });
			const [answer] = await once(request, 'response');
			let body = '';
			for await (const chunk of answer.setEncoding('utf8')) body += chunk;
			return { status: answer.statusCode, location: answer.headers.location, body };
		},

		// endSessions ends every session of the account by an operator's command. It returns
		// once the running server has noticed the change and refuses the visit of the browser
		// context, within a second.
		async endSessions({ name, password }, context) {
			await run(sallyport, ['account', 'set-password', name, '--password-stdin'], { env, cwd: dir, input: password });
			const Cookie = (await context.cookies(origin)).map((one) => `${one.name}=${one.value}`).join('; ');
			expect(Cookie).toContain('sallyport-visit=');
			await expect.poll(async () => (await this.ask('/', { Cookie })).status).toBe(401);
		},

		async stop() {
			await proxy.stop();
			const status = await server.stop();
			upstream.close();
			upstream.closeAllConnections();
			await rm(dir, { recursive: true });
			expect(server.log(), 'the server logged no error').not.toContain('"level":"ERROR"');
			expect(status, 'exit status of the server').toBe(0);
		},
	};
}

// certificates creates a self-signed certificate and its key, and returns the lines of the
// configuration that name them.
async function certificates(dir) {
	const generate = join(await run('go', ['env', 'GOROOT']), 'src/crypto/tls/generate_cert.go');
	await run('go', ['run', generate, '--host', `${portalHost},${panelHost}`, '--ecdsa-curve', 'P256'], { cwd: dir });
	return `tls: {certificates: [{cert: ${dir}/cert.pem, key: ${dir}/key.pem}]}`;
}

async function startNginx(dir, port, gate, own) {
	for (const name of ['sallyport.conf', 'sallyport-headers.conf', 'sallyport-maps.conf']) await copyFile(join(files, name), join(dir, name));
	const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${dir}/${name};`).join(' ');
	await writeFile(join(dir, 'nginx.conf'), `daemon off; pid ${dir}/pid; error_log stderr; worker_processes 1;
events { worker_connections 256; }
http {
	access_log off; ${folders}
	include sallyport-maps.conf;
	upstream sallyport { server 127.0.0.1:${gate}; }
	server {
		listen 127.0.0.1:${port};
		server_name ${portalHost};
		location / {
			proxy_pass http://sallyport;
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		}
	}
	server {
		listen 127.0.0.1:${port};
		server_name ${panelHost};
		include sallyport.conf;
		location / {
			proxy_pass http://${own};
		}
	}
}
`);
	const child = spawn('nginx', ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] });
	const killed = () => child.kill('SIGTERM');
	process.on('exit', killed);
	const ended = once(child, 'exit');
	let log = '';
	child.stderr.setEncoding('utf8').on('data', (text) => { log += text; });
	while (!(await listens(port))) {
		if (child.exitCode !== null) throw new Error(`nginx ended: ${log}`);
		await sleep(20);
	}
	return {
		async stop() {
			child.kill('SIGTERM');
			await ended;
			process.off('exit', killed);
		},
	};
}

async function listens(port) {
	const socket = net.connect(port, '127.0.0.1');
	try {
		await once(socket, 'connect');
		return true;
	} catch {
		return false;
	} finally {
		socket.destroy();
	}
}
