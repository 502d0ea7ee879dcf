// The optional script on a panel's page keeps what the user typed when the session ends.
import { AxeBuilder } from '@axe-core/playwright';
import { test, expect } from '@playwright/test';
import { startGate } from './gate.js';

// The strictest content security policy that allows the script.
const policy = "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'self'; img-src data:";

const form = `<!doctype html>
<html lang="en">
<title>Stream</title>
<link rel="icon" href="data:,">
<script src="/.sallyport/session.js" defer></script>
<script src="/page.js" defer></script>
<h1>Stream</h1>
<form method="post" action="/save">
<p><label>Title <input name="action"></label></p>
<p><label>Notes <textarea name="notes"></textarea></label></p>
<p><button name="kind" value="draft">Save</button> <button type="button" id="preview">Preview</button>
<button type="button" id="old">Count</button></p>
</form>
<p id="state"></p>
<dialog aria-label="Stop the stream"><form method="post" action="/save"><label>Reason <input name="reason"></label> <button>Stop</button></form></dialog>
</html>`;

const script = `
const state = document.getElementById('state');
document.getElementById('preview').onclick = async () => {
	const answer = await fetch('/preview');
	state.textContent = answer.status + ' ' + Object.keys(await answer.json());
};
document.getElementById('old').onclick = () => {
	const request = new XMLHttpRequest();
	request.open('GET', '/preview');
	request.onload = () => { state.textContent = 'counted ' + request.status; };
	request.send();
};
let submitted = 0;
document.forms[0].addEventListener('submit', () => { state.textContent = 'submitted ' + ++submitted; });
document.addEventListener('sallyport:ended', (event) => { document.title = 'ended'; });
document.addEventListener('sallyport:signed-in', (event) => { document.title = 'signed in'; });
`;

// panel stores the forms that it receives.
function panel(saved) {
	return async (request, response) => {
		let body = '';
		for await (const chunk of request) body += chunk;
		const answer = (type, text) => response.setHeader('Content-Type', type).end(text);
		if (request.url === '/page.js') return answer('text/javascript', script);
		if (request.url === '/preview') return answer('application/json', '{"preview":1}');
		if (request.url === '/refused') return response.writeHead(401).end('{"login":"/mine"}');
		if (request.method === 'POST') saved.push(Object.fromEntries(new URLSearchParams(body)));
		response.setHeader('Content-Security-Policy', policy);
		answer('text/html; charset=utf-8', request.method === 'POST' ? '<!doctype html><title>Saved</title><h1>Saved</h1>' : form);
	};
}

for (const frontend of ['gateway', 'nginx']) {
	test(`a half-filled form survives the end of the session behind ${frontend} @scripts @one-engine`, async ({ browser }) => {
		const saved = [];
		const gate = await startGate(frontend, panel(saved));
		const context = await browser.newContext();
		const faults = [];
		context.on('console', (message) => {
			if (/^Failed to load resource: .* status of 401/.test(message.text())) return;
			if (['error', 'warning'].includes(message.type())) faults.push(message.text());
		});
		context.on('weberror', (event) => faults.push(String(event.error())));
		try {
			const ada = await gate.addAccount('ada');
			const signIn = async (page) => {
				await page.getByLabel('Username or email').fill(ada.name);
				await page.getByLabel('Password', { exact: true }).fill(ada.password);
				await page.getByRole('button', { name: 'Sign in' }).click();
			};
			const page = await context.newPage();
			const title = page.getByLabel('Title'), notes = page.getByLabel('Notes');
			const bar = page.getByRole('alert'), state = page.locator('#state');
			const again = bar.getByRole('link', { name: 'Sign in again' });
			const signInAgain = async () => {
				const [tab] = await Promise.all([context.waitForEvent('page'), again.click()]);
				expect(await tab.evaluate(() => window.opener)).toBeNull();
				await signIn(tab);
				await expect(tab.getByRole('heading', { name: 'You’re signed in' })).toBeVisible();
				expect(new URL(tab.url()).origin).toBe(gate.panel);
				expect((await new AxeBuilder({ page: tab }).analyze()).violations).toEqual([]);
				await tab.close();
				await expect(bar).toBeHidden();
				await expect(page).toHaveTitle('signed in');
			};
			await page.goto(`${gate.panel}/form`);
			await signIn(page);
			await expect(page).toHaveURL(`${gate.panel}/form`);
			await title.fill('Regatta');
			await notes.fill('Begins at noon.\nTwo cameras.');
			await page.getByRole('button', { name: 'Preview' }).click();
			await expect(state).toHaveText('200 preview');
			await expect(bar).toBeHidden();

			// A request of the page's own script is refused, and the script gets the answer unchanged.
			await gate.endSessions(ada, context);
			await page.getByRole('button', { name: 'Preview' }).click();
			await expect(bar).toContainText('You were signed out. What you typed is still here.');
			await expect(state).toHaveText('401 login');
			await expect(page).toHaveTitle('ended');
			expect((await new AxeBuilder({ page }).disableRules(['landmark-one-main', 'region']).analyze()).violations).toEqual([]);
			await signInAgain();
			await expect(title).toHaveValue('Regatta');
			await expect(notes).toHaveValue('Begins at noon.\nTwo cameras.');

			// The form is held back too. It isn't sent now, and isn't sent by itself later.
			await gate.endSessions(ada, context);
			await page.getByRole('button', { name: 'Save' }).click();
			await expect(again).toBeFocused();
			await signInAgain();
			await expect(page).toHaveURL(`${gate.panel}/form`);
			await expect(state).toHaveText('401 login'); // the page's own submit listener didn't run
			expect(saved).toEqual([]);
			await page.getByRole('button', { name: 'Save' }).dblclick();
			await expect(page.getByRole('heading', { name: 'Saved' })).toBeVisible();
			expect(saved).toEqual([{ action: 'Regatta', notes: 'Begins at noon.\r\nTwo cameras.', kind: 'draft' }]);

			// XMLHttpRequest is watched too, and the bar can be closed. The script ignores a 401 of the panel itself.
			await page.goBack();
			await page.evaluate(() => fetch('/refused'));
			await page.getByRole('button', { name: 'Count' }).click();
			await expect(state).toHaveText('counted 200');
			await expect(bar).toBeHidden();
			await gate.endSessions(ada, context);
			await page.getByRole('button', { name: 'Count' }).click();
			await expect(state).toHaveText('counted 401');
			await bar.getByRole('button', { name: 'Close' }).click();
			await expect(bar).toBeHidden();

			// The bar works within an open modal dialog, outside of which nothing can be clicked.
			await page.evaluate(() => document.querySelector('dialog').showModal());
			await page.getByLabel('Reason').fill('storm');
			await page.getByRole('button', { name: 'Stop' }).click();
			await signInAgain();
			await page.getByRole('button', { name: 'Stop' }).click();
			await expect(page.getByRole('heading', { name: 'Saved' })).toBeVisible();
			expect(saved[1]).toEqual({ reason: 'storm' });
			expect(faults).toEqual([]);
		} finally {
			await context.close();
			await gate.stop();
		}
	});
}
