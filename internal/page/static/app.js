// Pages work without this file. Elements that need it are hidden at first.
"use strict";

const words = document.body.dataset;

// Shows times, which are in UTC, in the user's time zone.
for (const element of document.querySelectorAll("time[datetime]")) {
	const date = new Date(element.dateTime);
	const clock = date.toTimeString(); // "15:04:05 GMT+0100 (...)"
	const zone = date.toLocaleString("en", { timeZoneName: "short" }).split(" ").at(-1);
	const month = words.months.split("|")[date.getMonth()];
	const day = words.day.replace("#d", date.getDate()).replace("#m", month).replace("#y", date.getFullYear());
	const at = (time) => words.minute.replace("#d", day).replace("#t", time);
	const minute = clock.slice(0, 5);
	element.textContent = "day" in element.dataset ? day : "clock" in element.dataset ? words.clock.replace("#t", minute) : at(minute);
	element.title = at(`${clock.slice(0, 8)} ${zone}`);
	element.dataset.localDay = day;
}

// Groups events, which the server grouped by days in UTC, by days in the user's time zone.
const days = document.querySelector(".days");
if (days) {
	const events = days.querySelectorAll(".row");
	const [heading, list] = days.children;
	days.replaceChildren();
	let day;
	for (const event of events) {
		const { localDay } = event.querySelector("time").dataset;
		if (day !== localDay) {
			day = localDay;
			const id = `day-${days.childElementCount / 2}`;
			days.append(Object.assign(heading.cloneNode(), { id, textContent: day }), list.cloneNode());
			days.lastChild.setAttribute("aria-labelledby", id);
		}
		days.lastChild.append(event);
	}
}

// Adds a button that shows the password.
for (const input of document.querySelectorAll(".secret > input")) {
	const button = document.createElement("button");
	const show = (shown) => {
		input.type = shown ? "text" : "password";
		button.textContent = shown ? words.hide : words.show;
		button.ariaLabel = shown ? words.hideLabel : words.showLabel;
	};
	button.type = "button";
	button.className = "reveal";
	button.addEventListener("click", () => show(input.type === "password"));
	// Browsers would store text and suggest it.
	input.form.addEventListener("submit", () => show(false));
	show(false);
	input.after(button);
}

// Finds the code in pasted text such as "Your code: 123 456", which has no other digits.
document.addEventListener("paste", (event) => {
	const text = event.clipboardData.getData("text");
	if (event.target.inputMode !== "numeric" || !/^\D*\d([ -]?\d){5,7}\D*$/.test(text)) return;
	event.preventDefault();
	event.target.value = text.replace(/\D/g, "");
});

const print = document.querySelector("[data-print]");
if (print) {
	print.hidden = false;
	print.onclick = () => window.print();
}

// Without access to the clipboard (plain http), the text is selected instead.
for (const button of document.querySelectorAll("[data-copy]")) {
	const source = document.getElementById(button.dataset.copy);
	const label = button.querySelector("span");
	const before = label.textContent;
	button.hidden = false;
	button.addEventListener("click", async () => {
		try {
			await navigator.clipboard.writeText(source.dataset.whole ?? source.innerText);
			label.textContent = words.copied;
		} catch {
			getSelection().selectAllChildren(source);
			label.textContent = words.selected;
		}
		setTimeout(() => label.textContent = before, 3000);
	});
}

// A double click submits a form once.
const sent = new WeakMap();
document.addEventListener("submit", (event) => {
	const now = performance.now();
	if (now - sent.get(event.target) < 1000) event.preventDefault();
	else sent.set(event.target, now);
});

// Escape and Cancel close an opened form and focus its button.
const close = (details) => {
	if (!details?.open) return;
	details.open = false;
	details.firstElementChild.focus();
	history.replaceState(null, "", location.pathname + location.search); // the link to it works again
};
const opener = (form) => form?.previousElementSibling;
document.addEventListener("keydown", ({ key, target }) => {
	if (key === "Escape") close(opener(target.closest(".asked")) ?? target.closest("details"));
});
document.addEventListener("click", (event) => {
	const menu = document.querySelector("details.menu");
	if (menu && !menu.contains(event.target)) menu.open = false;
	if (!event.target.closest("[data-close]")) return;
	const form = event.target.closest(".asked");
	event.preventDefault();
	form.reset();
	close(opener(form));
});

for (const form of document.querySelectorAll(".asked")) {
	const details = opener(form);
	details.addEventListener("toggle", () => {
		if (!details.open || form.querySelector("[autofocus]")) return;
		form.querySelector(".field input")?.focus({ preventScroll: true });
		// After a double click, whose second click would hit another button.
		setTimeout(() => form.scrollIntoView({ block: "nearest" }), 600);
	});
}

const reveal = () => {
	const form = document.getElementById(location.hash.slice(1));
	if (form?.matches(".asked")) opener(form).open = true;
};
addEventListener("hashchange", reveal);
reveal();

// Asks before the page is left if the codes aren't saved.
const saved = document.querySelector("[data-saved]");
if (saved) addEventListener("beforeunload", (event) => saved.checked || event.preventDefault());

// Focuses an error that belongs to no field.
const error = document.getElementById("error");
if (error && !document.querySelector("[autofocus]")) error.focus();
