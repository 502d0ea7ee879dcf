// Package locale has the sentences of Sallyport's pages. It knows neither pages nor templates,
// so that pages and mails can use the same sentences.
//
// A [Catalogue] has the sentences of one language by key. It comes from a file such as en.json,
// whose name is the language's tag (BCP 47). A sentence may have gaps, such as {name}, which are
// filled when it is shown. A sentence that depends on a number has the plural forms that the CLDR
// gives the language, under keys that end with .zero, .one, .two, .few, .many or .other.
// Which sentences have plural forms may differ between languages, so the code passes the number in
// every case.
//
// In a language that is written from right to left, values of gaps are isolated from the sentence,
// so that a Latin name doesn't change the order of the words around it.
//
// A [Message] is a sentence that code has selected, with the values of its gaps, but without a
// language:
//
//	locale.Say("code.slow", "n", 3)
//
// So a function that decides what to say needs no catalogue, and returns a value that tests can
// compare. The catalogue turns it into text with [Catalogue.Sentence].
//
// Values of gaps may come from users. [Catalogue.Text] returns plain text, which html/template
// escapes. [Catalogue.Rich] returns HTML and escapes each value that isn't [template.HTML].
//
// Keys are literals in the code and in the templates wherever possible. The tests of this package
// read both: each key that they use must exist, and each sentence must be used.
package locale
