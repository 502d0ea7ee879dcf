// Package mail writes mails to the owners of accounts ([Renderer]) and sends them ([Mailer]): to a
// mail server by SMTP (RFC 5321, RFC 6409, RFC 8314), or as files into a directory. It owns no
// table. Which mails are sent, and when a mail that failed is sent again, is for its callers to
// decide, from the [Class] of the error.
//
// A password is sent over TLS only, and mails are sent without TLS to this machine only. If a
// mail server doesn't offer STARTTLS, or its certificate isn't valid, neither is sent.
package mail
