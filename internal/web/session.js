// docs/proxies.md describes this script.
"use strict";
if (window.sallyport) return;
const gate = "/.sallyport/";
const fetch = window.fetch;
const channel = new BroadcastChannel("sallyport");
let missed = ""; // the path that needs a sign-in
let bar, link, resent, checked;

// Returns the sign-in URL, "" if path is open, undefined if unknown.
const ask = async (path) => {
	try {
		const answer = await fetch(`${gate}session?for=${encodeURIComponent(path)}`, { cache: "no-store" });
		return answer.status === 401 ? (await answer.json()).login : "";
	} catch {}
};

const make = (name, more) => Object.assign(document.createElement(name), more);

const show = (login, path) => {
	missed = path;
	bar?.remove();
	bar = link = undefined;
	if (!document.dispatchEvent(new CustomEvent("sallyport:ended", { cancelable: true, detail: { login } }))) return;
	link = make("a", { textContent: words.sign_in, href: login, target: "_blank", rel: "noopener" });
	const box = make("div", { role: "alert" });
	box.append(make("p", { textContent: words.ended }), link,
		make("button", { textContent: words.close, onclick: () => bar.remove() }));
	bar = make("div", { lang: words.lang, dir: words.dir, popover: "manual" });
	const root = bar.attachShadow({ mode: "open" });
	const style = new CSSStyleSheet(); // any panel's policy allows it
	style.replaceSync(`:host{all:initial!important;color-scheme:light dark!important}
div{position:fixed;inset:auto 1rem 1rem;z-index:99999;display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;max-width:40rem;margin:auto;padding:.75rem 1rem;border:1px solid;border-radius:.5rem;font:1rem/1.5 system-ui;color:CanvasText;background:Canvas}
p{flex:1 1 12rem;margin:0}
a,button{padding:.5rem 1rem;border:1px solid;font:inherit;color:inherit;background:none;text-decoration:none;cursor:pointer}
a{color:Canvas;background:CanvasText}`);
	root.adoptedStyleSheets = [style];
	root.append(box);
	// Outside an open modal dialog nothing can be clicked.
	(document.querySelector("dialog:modal") ?? document.body).append(bar);
	bar.showPopover?.();
};

const check = async (path = location.pathname) => {
	const login = await ask(path);
	if (login) show(login, path);
	return !login;
};

const examine = (status, address) => {
	const url = new URL(address, location);
	if (status === 401 && !missed && url.origin === location.origin) check(url.pathname);
};

window.fetch = function (...args) {
	const answer = fetch.apply(this, args);
	answer.then(({ status, url }) => examine(status, url), () => {});
	return answer;
};
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (...args) {
	this.addEventListener("load", () => examine(this.status, this.responseURL), { once: true });
	return send.apply(this, args);
};

// Runs first: the page's listeners get one event per form.
addEventListener("submit", async (event) => {
	const form = event.target, by = event.submitter;
	if (form === resent) return;
	const said = (name) => by?.getAttribute("form" + name) ?? form.getAttribute(name) ?? "";
	const to = new URL(said("action") || location, document.baseURI);
	if (said("method").toLowerCase() !== "post" || to.origin !== location.origin) return;
	event.preventDefault();
	event.stopImmediatePropagation();
	if (form === checked) return; // a second click
	checked = form;
	const open = await check(to.pathname);
	checked = undefined;
	if (!open) return link?.focus();
	resent = form;
	HTMLFormElement.prototype.requestSubmit.call(form, by); // a field may be called requestSubmit
	resent = undefined;
}, true);

const recheck = async () => {
	const path = missed;
	if (!path || await ask(path) !== "" || path !== missed) return;
	missed = "";
	bar?.remove();
	document.dispatchEvent(new Event("sallyport:signed-in"));
};
channel.onmessage = recheck;
addEventListener("focus", recheck);
if (location.pathname === gate + "signed-in") channel.postMessage("");

window.sallyport = { check };
