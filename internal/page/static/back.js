// Return addresses: adds the fragment, and stores an address that is too long.
const hash = location.hash.replace(/%(?![0-9a-f]{2})/gi, "%25").replace(/[\\ "<>^`{|}]/g, encodeURIComponent);
for (const field of document.querySelectorAll("[name=return]")) {
	let [to, query] = field.value.split("?");
	const values = new URLSearchParams(query);
	if (to === "/enter") {
		values.set("return", values.get("return") + hash);
		to += `?${values}`;
	} else to = field.value + hash;
	if (hash && to.length < 2000) field.value = to;
}
try {
	const keep = document.querySelector("[data-keep]");
	const back = document.querySelector("[data-back]");
	if (keep) {
		sessionStorage.back = location;
		location.replace(keep.dataset.keep);
	}
	const to = sessionStorage.back || "";
	if (back) location.replace(to.startsWith(origin + "/") ? to : back);
} catch {}
