// Estimates the strength of a new password as password/strength.go does, but without the
// list of common passwords; testdata/strength.json there tests both. Nothing is sent.
"use strict";
{
	const separator = /[ .,@\-_!?]/, digit = /\p{Nd}/u, small = /\p{Ll}/u, capital = /\p{Lu}/u;
	const disguises = { 0: "o", 3: "e", 4: "a", 5: "s", 7: "t", "@": "a", $: "s", "!": "i" };
	const forth = "qwertyuiop asdfghjkl zxcvbnm qwertzuiop yxcvbnm azertyuiop qsdfghjklm wxcvbn";
	const rows = forth + " " + [...forth].reverse().join("");

	// characters returns what the server counts.
	const characters = (typed) => [...typed.normalize("NFC").replace(/\p{Zs}/gu, " ")];
	const lowered = (c) => [...c.toLowerCase()].length === 1 ? c.toLowerCase() : c;
	const parts = (text) => text.toLowerCase().split(separator).filter((part) => [...part].length >= 3);
	const hasCase = (c) => small.test(c) || capital.test(c);

	const isRun = (text) => {
		if (!text.includes(" ") && rows.includes(text.join(""))) return true;
		return text.every((c, i) => !i || [-9, -1, 0, 1, 9].includes(c.codePointAt(0) - text[i - 1].codePointAt(0)));
	};

	const bitsAlone = (text, i) => {
		if (separator.test(text[i])) return 1;
		if (digit.test(text[i])) return 3;
		if (!hasCase(text[i])) return 5;
		const goesOn = (k) => k > 0 && k < text.length && hasCase(text[k]) && hasCase(text[k - 1]) &&
			!(small.test(text[k - 1]) && capital.test(text[k]));
		let from = i, to = i + 1;
		while (goesOn(from)) from--;
		while (goesOn(to)) to++;
		return to - from < 3 ? 5 : 3;
	};

	const estimate = (text, own) => {
		const lower = text.map(lowered);
		const whole = lower.join("");
		const plain = (one) => lower.map((c) => c === "1" ? one : disguises[c] ?? c).join("");
		const spellings = [whole, plain("i"), plain("l")];
		const at = [0]; // start of each character
		for (const c of lower) at.push(at.at(-1) + c.length);
		const best = [{ bits: 0 }];
		for (let i = 0; i < text.length; i++) {
			const reach = (end, bits, kind) => {
				bits += best[i].bits;
				if (!best[end] || bits < best[end].bits) best[end] = { bits, from: i, kind };
			};
			reach(i + 1, bitsAlone(text, i), "few");
			for (let end = i + 4; end <= text.length && isRun(lower.slice(i, end)); end++) {
				reach(end, 6, lower[i] === lower[i + 1] && lower[i] === lower[end - 1] ? "repeat" : "run");
			}
			for (let end = i + 3; end <= text.length; end++) {
				if (!whole.slice(0, at[end - 1]).includes(whole.slice(at[i], at[end]))) break;
				reach(end, 3, "repeat");
			}
			for (const spelling of spellings) {
				for (const word of own) if (spelling.startsWith(word, at[i])) reach(i + [...word].length, 2, "own");
			}
		}
		const covered = { own: 0, run: 0, repeat: 0, few: 0 };
		for (let end = text.length; end > 0; end = best[end].from) covered[best[end].kind] += end - best[end].from;
		let reason = "few", most = Math.floor(text.length / 3) + 1;
		for (const kind of ["own", "run", "repeat"]) if (covered[kind] >= most) [reason, most] = [kind, covered[kind] + 1];
		const { bits } = best[text.length];
		return { level: bits < 40 ? "weak" : bits < 60 ? "fair" : "good", reason };
	};

	const line = document.getElementById("strength");
	const says = line.dataset;
	const icons = document.getElementById("strength-icons").content;
	const hint = document.getElementById("hint");
	const input = document.getElementById("new_password");
	const show = () => {
		const text = characters(input.value);
		const { username, email } = input.form.elements;
		const own = parts([says.words, username?.value, email?.value].join(" "));
		let { level, reason } = estimate(text, own);
		let why = level === "good" ? says.later : says[reason];
		if (text.length < says.least) [level, why] = ["short", says.short.replace("#", text.length)];
		if (text.length > says.most) [level, why] = ["long", says.long];
		hint.hidden = text.length > 0;
		if (!text.length) {
			line.replaceChildren();
			delete says.level;
			return;
		}
		const word = document.createElement("b");
		const sentence = document.createElement("span");
		word.textContent = says["is" + level] ?? "";
		sentence.append(word, word.textContent && " ", why);
		const icon = icons.querySelector("." + level);
		line.replaceChildren(...icon ? [icon.cloneNode(true)] : [], sentence);
		says.level = level;
	};

	// Screen readers mustn't be interrupted by each key.
	const pause = 250;
	let timer;
	input.form.addEventListener("input", () => {
		clearTimeout(timer);
		timer = setTimeout(show, pause);
	});
}
