// Programs of mail servers open every link of a mail before the person does, run the scripts of its
// page and press its buttons. They must gain nothing, and every link must still work for the person.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { test, expect, run } from './portal.js';
import { path, signIn, typePassword } from './person.js';

test.use({ mail: true });

// changeAddress asks for another address of the account that is signed in.
async function changeAddress(page, address) {
	await page.goto('/settings/profile/email');
	await page.getByLabel('Email').fill(address);
	await page.getByRole('button', { name: 'Send the message' }).click();
	await expect(page.getByRole('status')).toContainText('We’ve sent a message');
}

async function confirm(page, link) {
	await page.goto(link);
	await page.getByRole('button', { name: 'Confirm' }).click();
	await expect(page.getByRole('status')).toHaveText('Email address confirmed.');
}

// kinds holds every kind of link in mails, by its name in package mail. ask makes the portal send such
// a link to the address in the field "to". use does with the link what its owner does, in ada's browser
// or in another one. ada is signed in on page, and her address ada@example.com is confirmed.
const kinds = {
	Reset: {
		path: '/reset', to: 'ada@example.com',
		async ask(page) {
			await page.goto('/forgot');
			await page.getByLabel('Username or email').fill('ada');
			await page.getByRole('button', { name: 'Send the link' }).click();
		},
		async use(page, link) {
			await page.goto(link);
			await page.getByLabel('New password', { exact: true }).fill('four walks, and one more');
			await page.getByRole('button', { name: 'Set password' }).click();
			await expect(page.getByRole('status')).toHaveText('Your new password is set.');
		},
	},
	Unlock: {
		path: '/unlock', to: 'ada@example.com',
		async ask(page, portal) {
			await portal.shield('ada');
			const context = await page.context().browser().newContext({ baseURL: portal.url });
			this.asker = await context.newPage();
			await typePassword(this.asker, { name: 'ada', password: 'ada likes long walks' });
			await this.asker.getByRole('button', { name: 'Email me a link' }).click();
			await expect(this.asker).toHaveURL('/unlock');
		},
		async use(page, link) {
			await this.asker.goto(link);
			await this.asker.getByRole('button', { name: 'Allow it' }).click();
			await expect(this.asker.getByRole('status')).toContainText('This browser may sign in now.');
			await this.asker.context().close();
		},
	},
	VerifyEmail: { path: '/settings/profile/email/confirm', to: 'ada@example.org', ask: (page) => changeAddress(page, 'ada@example.org'), use: confirm },
	UndoEmail: {
		path: '/undo-email', to: 'ada@example.com',
		async ask(page, portal) {
			await changeAddress(page, 'thief@example.net');
			await confirm(page, await portal.mail.link('thief@example.net', '/settings/profile/email/confirm'));
		},
		async use(page, link) {
			await page.goto(link);
			await page.getByLabel('Your email address').fill('ada@example.com');
			await page.getByRole('button', { name: 'Get it back' }).click();
			await expect(page.getByRole('status')).toContainText('Your email address is back');
		},
	},
	Invitation: {
		path: '/setup', to: 'grace@example.com',
		ask: (page, portal) => portal.command(['account', 'invite', 'grace', '--email', 'grace@example.com']),
		async use(page, link, other) {
			await other.goto(link);
			await other.getByLabel('Password', { exact: true }).fill('grace likes long walks');
			await other.getByRole('button', { name: 'Set password' }).click();
			await expect(other.getByRole('status')).toContainText('Your account is ready');
		},
	},
	Enrollment: {
		path: '/setup', to: 'ada@example.com', signsOut: true,
		ask: (page, portal) => portal.command(['account', 'reset-two-factor', 'ada']),
		async use(page, link, other, ada) {
			await signIn(page, ada);
			await page.goto(link);
			await expect(page).toHaveURL(path('/settings/security/authenticators/new'));
		},
	},
	LetIn: {
		path: '/setup', to: 'ada@example.com',
		ask: (page, portal) => portal.command(['account', 'unlock', 'ada']),
		async use(page, link, other) {
			await other.goto(link);
			await other.getByLabel('Username or email').fill('ada');
			await other.locator('main form button').click();
			await expect(other).toHaveURL('/login?notice=let_in');
		},
	},
};

test('the robot reads every kind of link', { tag: ['@one-engine', '@scripts'] }, async () => {
	const source = await readFile(fileURLToPath(new URL('../internal/recovery/prepare.go', import.meta.url)), 'utf8');
	const cases = [...source.matchAll(/^\t+case (mail\.[^:]+):/gm)].flatMap(([, names]) => names.split(', '));
	expect(Object.keys(kinds).map((name) => `mail.${name}`).sort()).toEqual(cases.sort());
});

for (const [name, kind] of Object.entries(kinds)) {
	test(`a robot that reads all mails first gains nothing, and the link ${name} still works`, { tag: ['@one-engine', '@scripts'] }, async ({ page, anotherBrowser, browser, portal }) => {
		const ada = await portal.addAccount('ada');
		await portal.command(['account', 'set-email', 'ada', 'ada@example.com']);
		await portal.command(['account', 'verify-email', 'ada']);
		await signIn(page, ada);
		await kind.ask(page, portal);
		const link = await portal.mail.link(kind.to, kind.path);
		await expect.poll(() => rows(portal.database, 'outbox'), 'every mail is sent').toEqual([]);

		const before = await rows(portal.database);
		const robot = await browser.newContext();
		await readEverything(await robot.newPage(), await portal.mail.all());
		const cookies = await robot.cookies(portal.url);
		expect(cookies.map(({ name }) => name).filter((name) => ['sallyport', 'sallyport-device', 'sallyport-attempt'].includes(name)), 'cookies of the robot').toEqual([]);
		await robot.close();
		expect(await rows(portal.database), 'the robot changed rows').toEqual(before);

		await page.goto('/settings/profile');
		await expect(page, 'the person is signed in as before').toHaveURL(path(kind.signsOut ? '/login' : '/settings/profile'));
		await kind.use(page, link, await anotherBrowser(), ada);
	});
}

// readEverything opens each link of the mails and presses each button of its page: first with the fields
// as they are, then with meaningless text in them.
async function readEverything(page, mails) {
	const links = new Set(mails.flatMap(({ Text, HTML }) => `${Text} ${HTML.replaceAll('&amp;', '&')}`.match(/https?:\/\/[^\s"'<>]+/g) ?? []));
	expect([...links].filter((link) => link.includes('ticket=')), 'links with tickets').not.toEqual([]);
	const buttons = page.locator('button:not([type=button])');
	let pressed = 0;
	for (const link of links) {
		await page.goto(link);
		const n = await buttons.count();
		for (let i = 0; i < n; i++) {
			for (const junk of [null, 'x']) {
				await page.goto(link);
				const answered = page.waitForNavigation();
				await buttons.nth(i).evaluate((button, junk) => {
					button.form.noValidate = true;
					for (const field of junk ? button.form.querySelectorAll('input:not([type=hidden])') : []) field.value = junk;
					button.click();
				}, junk);
				await answered;
				pressed++;
			}
		}
	}
	expect(pressed, 'the robot found buttons').toBeGreaterThan(1);
}

// rows returns all rows of a SQLite database, or of one table. It leaves out values that change without
// a request, counts of tries, and failed sign-ins with names that don't exist.
async function rows(database, only = '') {
	const program = `
import re, sqlite3, sys
db = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)
for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
    if table in ('clock', 'leases', 'nodes', 'ledger', 'audit_head', 'audit_checkpoints') or sys.argv[2] not in ('', table):
        continue
    columns = "account_id, kind, outcome" if table == 'events' else '*' # the server seals events later
    for row in sorted(map(repr, db.execute(f'SELECT {columns} FROM "{table}"'))):
        if table in ('sessions', 'devices'): # last uses are written later
            row = re.sub(r'\\b\\d{13}\\b', 'TIME', row)
        if not row.startswith("('nobody-"):
            print(table, row)
`;
	const printed = await run('python3', ['-c', program, database, only]);
	return printed ? printed.split('\n') : [];
}
