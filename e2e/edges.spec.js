// Panels and browsers that need special treatment: redirects to other sites, service workers,
// frames and caches.
import { once } from 'node:events';
import http from 'node:http';
import { test, expect } from '@playwright/test';
import { startGate } from './gate.js';

// page answers with a small page of HTML.
const page = (answer, body) => answer.setHeader('Content-Type', 'text/html; charset=utf-8').end(`<!doctype html><title>panel</title>${body}`);

async function signIn(at, { name, password }) {
	await at.getByLabel('Username').fill(name);
	await at.getByLabel('Password', { exact: true }).fill(password);
	await at.getByRole('button', { name: 'Sign in' }).click();
}

// withGate runs a test with a panel behind the gateway and one account.
async function withGate(browser, javaScriptEnabled, panel, rules, run) {
	const gate = await startGate('gateway', panel, rules);
	const context = await browser.newContext({ javaScriptEnabled });
	try {
		await run(gate, context, await gate.addAccount('ada'));
	} finally {
		await context.close();
		await gate.stop();
	}
}

test('a panel may redirect to a sign-in of its own on another host @one-engine', async ({ browser, javaScriptEnabled }) => {
	const elsewhere = http.createServer((_, answer) => page(answer, '<h1>The panel’s own sign-in</h1>')).listen(0, '127.0.0.1');
	await once(elsewhere, 'listening');
	const own = `http://sso.localhost:${elsewhere.address().port}/`;
	try {
		await withGate(browser, javaScriptEnabled, (_, answer) => answer.writeHead(302, { Location: own }).end(), '', async (gate, context, ada) => {
			const tab = await context.newPage();
			await tab.goto(`${gate.panel}/`);
			await signIn(tab, ada);
			await expect(tab.getByRole('heading', { name: 'The panel’s own sign-in' })).toBeVisible();
			expect(tab.url()).toBe(own);
		});
	} finally {
		elsewhere.close();
		elsewhere.closeAllConnections();
	}
});

test('an app whose service worker fetches its pages leads to the sign-in and back @one-engine @scripts', async ({ browser, javaScriptEnabled }) => {
	const panel = (request, answer) => {
		if (request.url === '/sw.js') {
			answer.setHeader('Content-Type', 'text/javascript');
			return answer.end('self.oninstall = () => self.skipWaiting(); self.onactivate = (e) => e.waitUntil(clients.claim()); self.onfetch = (e) => e.respondWith(fetch(e.request));');
		}
		return page(answer, `<h1>App</h1><script>navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(() => { document.body.dataset.worker = 'yes'; });</script>`);
	};
	await withGate(browser, javaScriptEnabled, panel, '', async (gate, context, ada) => {
		const tab = await context.newPage();
		await tab.goto(`${gate.panel}/app?x=1`);
		await signIn(tab, ada);
		await expect(tab.locator('body[data-worker=yes]')).toBeVisible();
		await gate.endSessions(ada, context);
		await tab.goto(`${gate.panel}/app?x=2`);
		await expect(tab).toHaveURL(new RegExp(`^${gate.portal}/login`));
		await signIn(tab, ada);
		await expect(tab.getByRole('heading', { name: 'App' })).toBeVisible();
		expect(tab.url()).toBe(`${gate.panel}/app?x=2`);
	});
});

test('after the session’s end a page says that the form wasn’t sent @one-engine', async ({ browser, javaScriptEnabled }) => {
	const posts = [];
	const panel = (request, answer) => {
		if (request.method === 'POST') posts.push(request.url);
		page(answer, '<form method="post" action="/save"><button>Save</button></form>');
	};
	await withGate(browser, javaScriptEnabled, panel, '', async (gate, context, ada) => {
		const tab = await context.newPage();
		await tab.goto(`${gate.panel}/edit`);
		await signIn(tab, ada);
		await expect(tab.getByRole('button', { name: 'Save' })).toBeVisible();
		await gate.endSessions(ada, context);
		await tab.getByRole('button', { name: 'Save' }).click();
		await expect(tab.getByText('your form wasn’t sent')).toBeVisible();
		await tab.getByRole('link', { name: 'Sign in' }).click();
		await signIn(tab, ada);
		await expect(tab).toHaveURL(`${gate.panel}/edit`);
		expect(posts).toEqual([]);
	});
});

test('a panel in a frame shows a link to the sign-in @one-engine', async ({ browser, javaScriptEnabled }) => {
	const panel = (request, answer) => {
		if (request.url === '/open/dashboard') return page(answer, '<h1>Dashboard</h1><iframe src="/chart" width="600" height="400"></iframe>');
		return page(answer, '<h1>Chart</h1>');
	};
	await withGate(browser, javaScriptEnabled, panel, '    rules: [{path: /open/, require: nothing}]\n', async (gate, context, ada) => {
		const tab = await context.newPage();
		await tab.goto(`${gate.panel}/open/dashboard`);
		const frame = tab.frameLocator('iframe');
		await expect(frame.getByRole('heading', { name: `Sign in to ${new URL(gate.panel).host}` })).toBeVisible();
		await frame.getByRole('link', { name: 'Sign in' }).click();
		await expect(tab).toHaveURL(new RegExp(`^${gate.portal}/login`));
		await signIn(tab, ada);
		await expect(tab.getByRole('heading', { name: 'Chart' })).toBeVisible();
	});
});

test('after a sign-out the next user doesn’t see cached pages of the first one @one-engine', async ({ browser, javaScriptEnabled }) => {
	const panel = (request, answer) => {
		answer.setHeader('Cache-Control', 'max-age=600');
		page(answer, `<h1>Mail of ${request.headers['remote-user']}</h1>`);
	};
	await withGate(browser, javaScriptEnabled, panel, '', async (gate, context, ada) => {
		const bob = await gate.addAccount('bob');
		const tab = await context.newPage();
		for (const person of [ada, bob]) {
			await tab.goto(`${gate.panel}/.sallyport/start?return=/mail`);
			await signIn(tab, person);
			await expect(tab.getByRole('heading', { name: `Mail of ${person.name}` })).toBeVisible();
			await tab.goto(`${gate.panel}/.sallyport/logout`);
			await tab.getByRole('button', { name: 'Sign out' }).click();
			await expect(tab.getByText('You’re signed out')).toBeVisible();
			await expect(tab).toHaveURL(new RegExp(`^${gate.portal}/login`));
		}
	});
});

test('a long return URL and its fragment survive the sign-in @one-engine @scripts', async ({ browser, javaScriptEnabled }) => {
	const panel = (request, answer) => page(answer, `<h1>${request.url.length} bytes</h1>`);
	await withGate(browser, javaScriptEnabled, panel, '', async (gate, context, ada) => {
		for (const target of ['/app?x=1#/dashboard/7', `/explore?left=${'%22q%22,'.repeat(200)}#/a`, `/explore?left=${'x'.repeat(7480)}#/b`]) {
			const tab = await context.newPage();
			await tab.goto(`${gate.panel}${target}`);
			await signIn(tab, ada);
			await expect(tab.getByRole('heading', { name: `${target.split('#')[0].length} bytes` })).toBeVisible();
			expect(tab.url()).toBe(`${gate.panel}${target}`);
			await tab.close();
			await context.clearCookies();
		}
	});
});

test('without scripts a page says before the sign-in that another page will open @one-engine @no-scripts', async ({ browser, javaScriptEnabled }) => {
	const panel = (request, answer) => page(answer, `<h1>At ${request.url}</h1>`);
	await withGate(browser, javaScriptEnabled, panel, '', async (gate, context, ada) => {
		const tab = await context.newPage();
		await tab.goto(`${gate.panel}/explore?left=${'x'.repeat(7480)}`);
		await expect(tab.getByText('/explore opens instead')).toBeVisible();
		await tab.getByRole('link', { name: 'Sign in' }).click();
		await signIn(tab, ada);
		await expect(tab.getByRole('heading', { name: 'At /explore' })).toBeVisible();
	});
});
