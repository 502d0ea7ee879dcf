// Package recovery mails links to the owners of accounts: a link to choose a new password, for
// owners who can't sign in, and links about the address itself. It decides which accounts get
// such a mail and what its link permits. It owns no table: packages ticket and outbox store links
// and mails.
//
//	asked ──outbox──► due ──Prepare──► link stored ──► mail sent ──► link opened ──► form posted
//
// A request of a stranger is only stored. Whether the account exists and may get the mail is
// decided when the mail is due, so that neither the answer to the request nor its time reveals
// that.
//
// Programs of mail servers open every link, run the scripts of its page and press its buttons. So
// opening a link changes nothing, and each form needs something that such a program doesn't have:
// a new password, the browser that asked, a session of the account, its name, or the address to
// restore. No link opens a session or makes the next sign-in easier. Within [account.MailPause]
// mail can replace the password or the second factor of an account, never both.
package recovery
