// The product under test: each test has its own `sallyport serve`, data directory and
// database, behind a proxy that records all requests and answers.
import { execFile, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test as base, expect } from '@playwright/test';
import { startMailServer } from './mailserver.js';

export { expect };

export const test = base.extend({
	engine: ['sqlite', { option: true }],
	mail: [false, { option: true }], // whether the portal sends mails, to portal.mail

	portal: async ({ engine, mail }, use) => {
		const portal = await startPortal(engine, mail);
		await use(portal);
		await portal.stop();
	},

	baseURL: async ({ portal }, use) => use(portal.url),

	// A fault on any page of a test fails the test.
	context: async ({ context, portal }, use) => {
		const faults = watch(context, portal.url);
		await use(context);
		expect(faults).toEqual([]);
	},

	// anotherBrowser() returns a page in a browser that shares nothing with the first.
	anotherBrowser: async ({ browser, portal }, use) => {
		const faults = [];
		const opened = [];
		await use(async () => {
			const context = await browser.newContext();
			opened.push(context);
			faults.push(watch(context, portal.url));
			return context.newPage();
		});
		for (const context of opened) await context.close();
		expect(faults.flat()).toEqual([]);
	},
});

// watch returns a list of faults, to which it adds whenever a page requests another host,
// violates its content security policy, or fails in a script.
export function watch(context, url) {
	const faults = [];
	context.on('request', (request) => {
		if (!request.url().startsWith(url + '/') && !request.url().startsWith('data:')) faults.push(`request to ${request.url()}`);
	});
	context.on('console', (message) => {
		// The browser logs every answer with a status of 4xx, which the pages handle.
		if (/^Failed to load resource: .* status of 4\d\d/.test(message.text())) return;
		if (['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()}`);
	});
	context.on('weberror', (event) => faults.push(`script: ${event.error()}`));
	return faults;
}

// run runs a program with input on its standard input and returns its output.
export function run(program, args, { input = '', ...options } = {}) {
	return new Promise((resolve, reject) => {
		const child = execFile(program, args, options, (error, stdout, stderr) => {
			if (error) reject(new Error(`${program}: ${stderr || error.message}`));
			else resolve(stdout.trim());
		});
		child.stdin.on('error', () => {}); // a program may end without reading
		child.stdin.end(input);
	});
}

export const sallyport = fileURLToPath(new URL('../bin/sallyport', import.meta.url));

// serve starts `sallyport serve` and returns once it listens. stop() returns its exit code.
export async function serve(env, dataDir) {
	const server = spawn(sallyport, ['serve'], { env, cwd: dataDir, stdio: ['ignore', 'pipe', 'pipe'] });
	const killed = () => server.kill('SIGKILL');
	process.on('exit', killed);
	const ended = once(server, 'exit');
	let printed = '', log = '';
	server.stderr.setEncoding('utf8').on('data', (text) => { log += text; });
	await new Promise((resolve, reject) => {
		server.stdout.setEncoding('utf8').on('data', (text) => {
			printed += text;
			if (printed.includes('Sallyport is at')) resolve();
		});
		server.on('error', reject);
		server.on('exit', () => reject(new Error(`sallyport serve ended: ${log}`)));
	});
	return {
		printed: () => printed,
		log: () => log,
		async stop() {
			server.kill('SIGTERM');
			const [status] = await ended;
			process.off('exit', killed);
			return status;
		},
	};
}

async function startPortal(engine, withMail) {
	const database = engine === 'postgres' ? await createDatabase() : { url: '', drop: async () => {} };
	const dataDir = await mkdtemp(join(tmpdir(), 'sallyport-e2e-'));
	const port = await freePort();
	const recorder = await startRecorder(port);
	const mail = withMail ? await startMailServer(dataDir) : null;
	// A panel for machine passes. No server runs there.
	const config = join(dataDir, 'sallyport.yaml');
	await writeFile(config, 'panels: [{url: http://panel.localhost, upstream: http://127.0.0.1:9}]\n');
	const env = {
		PATH: process.env.PATH,
		SALLYPORT_CONFIG: config,
		SALLYPORT_DATA_DIR: dataDir,
		SALLYPORT_DATABASE: database.url,
		SALLYPORT_LISTEN: `127.0.0.1:${port}`,
		SALLYPORT_PUBLIC_URL: recorder.url,
		SALLYPORT_SITE_NAME: 'Harbour Radio',
		SALLYPORT_LOG_LEVEL: 'debug',
		...mail?.settings,
	};

	const server = await serve(env, dataDir);

	return {
		url: recorder.url,
		mail,
		database: database.url || join(dataDir, 'sallyport.db'),
		exchanges: recorder.exchanges,
		printed: server.printed,
		log: server.log,

		// command runs another `sallyport` command while the server runs.
		command: (args, input) => run(sallyport, args, { env, cwd: dataDir, input }),

		async addAccount(name) {
			const password = `${name} likes long walks`;
			await this.command(['account', 'add', name, '--password-stdin'], password);
			return { name, password };
		},

		// shield stores a hundred wrong passwords of unknown browsers, as one entry of the ledger.
		async shield(name) {
			const entry = Buffer.alloc(23); // id (4), Unix milliseconds (8), units (2), owned (1), tag (8)
			entry.writeBigUInt64BE(BigInt(Date.now()), 4);
			entry.writeUInt16BE(100, 12);
			await run('sqlite3', ['-cmd', '.timeout 5000', join(dataDir, 'sallyport.db'), `
				INSERT OR REPLACE INTO ledger (account_id, bucket, subject, times, version, changed_at)
				SELECT id, 'password', '', x'${entry.toString('hex')}', 1000, ${Date.now()} FROM accounts WHERE name = '${name}'`]);
		},

		async stop() {
			const status = await server.stop();
			await mail?.stop();
			recorder.close();
			await database.drop();
			await rm(dataDir, { recursive: true });
			const errors = server.log().split('\n').filter((line) => line.includes('"level":"ERROR"') && !line.includes('mailbox unavailable'));
			expect(errors, 'the server logged no error but mails to addresses that don’t exist').toEqual([]);
			expect(status, 'exit status of the server').toBe(0);
		},
	};
}

// createDatabase creates a database on the server that SALLYPORT_TEST_POSTGRES names.
async function createDatabase() {
	const server = process.env.SALLYPORT_TEST_POSTGRES;
	if (!server) throw new Error('SALLYPORT_TEST_POSTGRES is not set; "make e2e" starts a PostgreSQL server');
	const name = 'e2e_' + randomBytes(8).toString('hex');
	const sql = (command) => run('psql', [server, '--no-psqlrc', '--quiet', '--command', command]);
	await sql(`CREATE DATABASE ${name}`);
	return {
		url: server.replace(/^(\w+:\/\/[^/?]*)(\/[^?]*)?/, `$1/${name}`),
		drop: () => sql(`DROP DATABASE ${name} WITH (FORCE)`),
	};
}

// freePort returns a free port below 32768, where Linux begins to choose the ports of
// outgoing connections: such a connection could take the port before the caller binds it.
export async function freePort() {
	for (;;) {
		const port = randomInt(20_000, 32_000);
		const server = net.createServer().listen(port, '127.0.0.1');
		try {
			await once(server, 'listening');
		} catch (error) {
			if (error.code !== 'EADDRINUSE') {
				throw error;
			}
			continue;
		}
		server.close();
		await once(server, 'close');
		return port;
	}
}

// startRecorder starts the proxy to which browsers connect. It forwards every request to
// the portal and records request and answer.
async function startRecorder(port) {
	const exchanges = [];
	const recorder = http.createServer(async (request, response) => {
		const exchange = { method: request.method, url: request.url, headers: request.headers, sent: Buffer.of(), body: Buffer.of() };
		exchanges.push(exchange);
		try {
			exchange.sent = await bodyOf(request);
			// Without Accept-Encoding the recorded answers are uncompressed.
			const { 'accept-encoding': _, ...headers } = request.headers;
			const forwarded = http.request({ host: '127.0.0.1', port, method: request.method, path: request.url, headers });
			forwarded.end(exchange.sent);
			const [answer] = await once(forwarded, 'response');
			exchange.status = answer.statusCode;
			exchange.answerHeaders = answer.headers;
			exchange.body = await bodyOf(answer);
			response.writeHead(answer.statusCode, answer.rawHeaders).end(exchange.body);
		} catch {
			response.destroy(); // client or server closed the connection
		}
	}).listen(0, '127.0.0.1');
	await once(recorder, 'listening');
	return {
		url: `http://127.0.0.1:${recorder.address().port}`,
		exchanges,
		close() {
			recorder.close();
			recorder.closeAllConnections();
		},
	};
}

async function bodyOf(message) {
	const chunks = [];
	for await (const chunk of message) chunks.push(chunk);
	return Buffer.concat(chunks);
}
