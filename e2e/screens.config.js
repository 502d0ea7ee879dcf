// npm run screens: pictures of every page, for people to look at.
import config from './playwright.config.js';

export default {
	...config,
	testMatch: 'screens.js',
	projects: [{ name: 'screens', use: { engine: 'sqlite' } }],
};
