// Package recovery helps owners who can't sign in, by mails to the address of their account: a
// link to choose a new password, and links about the address itself. It decides who gets such a
// mail and what its link permits. It owns no table: links are in package ticket, mails in package
// outbox.
//
//	asked ──outbox──► due ──Prepare──► link stored ──► mail sent ──► link opened ──► form posted
//
// What a stranger asks for is only stored. Whether there is such an account, and whether it may
// get the mail, is decided when the mail is due, so that neither the answer nor its time tells.
//
// Programs of mail servers open every link, run the scripts of its page and press its buttons.
// So opening a link changes nothing, and each form needs what such a program doesn't have: a
// new password, the browser that asked, a session of the account, or the address to restore.
// No link opens a session, and none asks for less at the next sign-in. Within [account.MailPause]
// mail replaces the password or the second factor of an account, never both.
package recovery
