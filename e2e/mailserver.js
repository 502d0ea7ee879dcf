// A real mail server, github.com/axllent/mailpit: it accepts mails by STARTTLS with a password,
// refuses addresses at other domains than those of RFC 2606, and shows mails by its API.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort, run } from './portal.js';

const mailpit = fileURLToPath(new URL('../bin/mailpit', import.meta.url));
const user = 'portal@example.com', password = 'four-long-walks';
const patience = 20_000;

// startMailServer starts a mail server that keeps its files in a directory.
export async function startMailServer(parent) {
	const dir = join(parent, 'mailserver');
	await mkdir(dir);
	const file = (name) => join(dir, name);
	await writeFile(file('users'), `${user}:${password}\n`);
	await writeFile(file('password'), password, { mode: 0o600 });
	await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=mail.test',
		'-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', file('key.pem'), '-out', file('cert.pem')]);
	const smtp = `127.0.0.1:${await freePort()}`, api = `127.0.0.1:${await freePort()}`;
	const server = spawn(mailpit, ['--quiet', '--disable-version-check', '--database', file('mails.db'), '--listen', api, '--smtp', smtp,
		'--smtp-tls-cert', file('cert.pem'), '--smtp-tls-key', file('key.pem'), '--smtp-require-starttls', '--smtp-disable-rdns',
		'--smtp-auth-file', file('users'), '--smtp-allowed-recipients', '[@.]example\\.(com|org|net)$'], { stdio: 'ignore' });
	const killed = () => server.kill('SIGKILL');
	process.on('exit', killed);
	const ended = once(server, 'exit');
	const get = async (path) => (await fetch(`http://${api}/api/v1/${path}`)).json();
	for (const end = Date.now() + patience; ; await sleep(50)) {
		const answer = await fetch(`http://${api}/readyz`).catch(() => null);
		if (answer?.ok) break;
		if (Date.now() > end) throw new Error('the mail server doesn’t start');
	}
	const followed = new Set();
	return {
		settings: {
			SALLYPORT_MAIL_URL: `smtp://${user}@${smtp}`,
			SALLYPORT_MAIL_PASSWORD_FILE: file('password'),
			SALLYPORT_MAIL_CA: file('cert.pem'),
			SALLYPORT_MAIL_FROM: 'Harbour Radio <portal@example.com>',
		},

		// all returns all mails, the newest first, with To, Subject, Text and HTML.
		async all() {
			const { messages } = await get('messages?limit=500');
			return Promise.all(messages.map(({ ID }) => get(`message/${ID}`)));
		},

		// link waits for a mail to an address with a link to this path that it hasn't returned
		// before, and returns the link.
		async link(address, path) {
			for (const end = Date.now() + patience; Date.now() < end; await sleep(100)) {
				const { messages } = await get(`search?query=${encodeURIComponent(`to:${address}`)}`);
				for (const { ID } of messages) {
					const { Text } = await get(`message/${ID}`);
					const found = Text.match(/https?:\/\/\S+\?ticket=\S+/g)?.find((link) => new URL(link).pathname === path && !followed.has(link));
					if (!found) continue;
					followed.add(found);
					return found;
				}
			}
			throw new Error(`no mail to ${address} has a new link to ${path}`);
		},

		async stop() {
			server.kill('SIGTERM');
			await ended;
			process.off('exit', killed);
		},
	};
}
