// npm run screens: takes a picture of every page, for reviewers.
import config from './playwright.config.js';

export default {
	...config,
	testMatch: 'screens.js',
	projects: [{ name: 'screens', use: { engine: 'sqlite' } }],
};
