// Comforts for browsers that run scripts. Every page works without them, so
// whatever needs this file is hidden in the page and shown from here. What it
// says comes from the catalogue, through data attributes.
"use strict";

const words = document.body.dataset;
const lang = document.documentElement.lang;

// Times arrive in UTC and are shown in the reader's zone, in the same form.
const number = (date, options) => new Intl.DateTimeFormat(lang, options).format(date);
const two = (n) => String(n).padStart(2, "0");
for (const element of document.querySelectorAll("time[datetime]")) {
	const date = new Date(element.dateTime);
	if (isNaN(date)) continue;
	const day = `${date.getDate()} ${number(date, { month: "short" })} ${date.getFullYear()}`;
	const minute = `${two(date.getHours())}:${two(date.getMinutes())}`;
	const zone = new Intl.DateTimeFormat(lang, { timeZoneName: "short" })
		.formatToParts(date).find((part) => part.type === "timeZoneName");
	element.textContent = "day" in element.dataset ? day : `${day}, ${minute}`;
	element.title = `${day}, ${minute}:${two(date.getSeconds())} ${zone ? zone.value : ""}`;
}

// A button to look at the password one is typing.
for (const input of document.querySelectorAll(".secret > input")) {
	const button = document.createElement("button");
	const show = (shown) => {
		input.type = shown ? "text" : "password";
		button.textContent = shown ? words.hide : words.show;
		button.setAttribute("aria-label", shown ? words.hideLabel : words.showLabel);
	};
	button.type = "button";
	button.className = "reveal";
	button.setAttribute("aria-controls", input.id);
	button.addEventListener("click", () => show(input.type === "password"));
	// Sent as text, the browser would offer it as a suggestion next time.
	input.form.addEventListener("submit", () => show(false));
	show(false);
	input.after(button);
}

// Codes are pasted in many shapes: "Your code: 123 456".
for (const input of document.querySelectorAll("input[inputmode=numeric]")) {
	input.addEventListener("paste", (event) => {
		const digits = event.clipboardData.getData("text").replace(/\D/g, "");
		if (digits.length !== 6) return;
		event.preventDefault();
		input.value = digits;
	});
}

for (const button of document.querySelectorAll("[data-print]")) {
	button.hidden = false;
	button.addEventListener("click", () => window.print());
}

// Copy says on the button, and to screen readers, that it worked. Where the
// browser forbids the clipboard (plain http) the text is selected instead.
for (const button of document.querySelectorAll("[data-copy]")) {
	const source = document.getElementById(button.dataset.copy);
	const label = button.querySelector("span");
	const before = label.textContent;
	label.setAttribute("aria-live", "polite"); // a role would take the button its name
	button.hidden = false;
	button.addEventListener("click", async () => {
		const items = [...source.querySelectorAll("li")].map((item) => item.textContent.trim());
		try {
			await navigator.clipboard.writeText(source.dataset.whole || items.join("\n"));
			label.textContent = words.copied;
		} catch {
			getSelection().selectAllChildren(source);
			label.textContent = words.selected;
		}
		setTimeout(() => { label.textContent = before; }, 3000);
	});
}

// The second click of a double click doesn't send a form again: a code sent
// twice would be refused as used.
const sent = new WeakMap();
document.addEventListener("submit", (event) => {
	const now = performance.now();
	if (now - (sent.get(event.target) ?? -Infinity) < 1000) event.preventDefault();
	else sent.set(event.target, now);
});

// The account menu closes like a menu.
const menu = document.querySelector("details.menu");
if (menu) {
	document.addEventListener("click", (event) => {
		if (!menu.contains(event.target)) menu.open = false;
	});
	menu.addEventListener("keydown", (event) => {
		if (event.key !== "Escape") return;
		menu.open = false;
		menu.querySelector("summary").focus();
	});
}

// A link to a form behind a button opens it.
const reveal = () => {
	const target = location.hash && document.getElementById(location.hash.slice(1));
	const ask = target && target.closest("details");
	if (!ask) return;
	ask.open = true;
	ask.scrollIntoView({ block: "nearest" });
};
addEventListener("hashchange", reveal);
reveal();

// An error that belongs to no field gets the focus itself.
const error = document.getElementById("error");
if (error && !document.querySelector("[autofocus]")) error.focus();
