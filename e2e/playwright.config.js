import { defineConfig } from '@playwright/test';

// Debian's Chromium without its window, with its background requests disabled. It takes half
// of the processor time that "chromium --headless" takes, which draws a window unseen.
const chromium = {
	executablePath: '/usr/bin/chromium-headless-shell',
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
	workers: 3, // on two cores: some tests wait for the next time step of a code
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
