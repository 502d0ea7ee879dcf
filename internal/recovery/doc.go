// Package recovery mails links to the owners of accounts: links for owners who can't sign in, such
// as one to choose a new password, and links that confirm or restore an email address. It decides
// which accounts get such a mail and what its link permits. It owns no table: packages ticket and
// outbox store links and mails.
//
//	asked ──outbox──► due ──Prepare──► link stored ──► mail sent ──► link opened ──► form posted
//
// A stranger's request is only stored. Prepare decides whether the account exists and may get the
// mail, but only when the mail is due. So neither the answer to the request nor the time that the
// answer takes reveals whether the account exists.
//
// Programs of mail servers open every link, run the scripts of its page and press its buttons. So
// opening a link changes nothing, and the form of each page needs what such a program doesn't have:
// a new password, the browser that asked, a session of the account, its name, or the address to
// restore. No link opens a session or makes the next sign-in easier. Within [account.MailPause]
// mail can replace the password or the second factor of an account, never both.
package recovery
