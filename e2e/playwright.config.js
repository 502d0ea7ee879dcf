import { defineConfig } from '@playwright/test';

// Debian's browser, with its background requests disabled.
const chromium = {
	executablePath: '/usr/bin/chromium',
	args: [
		'--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
		'--disable-background-networking', '--disable-component-update', '--disable-sync',
	],
};

const project = (engine, javaScriptEnabled) => ({
	name: `${engine}, ${javaScriptEnabled ? 'with' : 'without'} JavaScript`,
	use: { engine, javaScriptEnabled },
	grepInvert: [
		javaScriptEnabled ? / @no-scripts/ : / @scripts/,
		...(engine === 'sqlite' ? [] : [/@one-engine/]),
	],
});

export default defineConfig({
	workers: 2,
	fullyParallel: true,
	retries: 0,
	forbidOnly: true,
	timeout: 180_000,
	expect: { timeout: 20_000 },
	reporter: [['list']],
	outputDir: 'test-results',
	use: {
		browserName: 'chromium',
		launchOptions: chromium,
		actionTimeout: 20_000,
		navigationTimeout: 40_000,
		locale: 'en-GB',
		screenshot: 'only-on-failure',
	},
	projects: [
		project('sqlite', true),
		project('sqlite', false),
		project('postgres', true), // the flow scripts cover PostgreSQL without JavaScript
	],
});
