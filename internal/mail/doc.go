// Package mail writes mails to the owners of accounts and sends them. It owns no table. Its callers
// decide which mails are sent, and when a mail that failed is sent again, by the [Class] of the
// error.
//
//   - [Renderer] (render.go) writes the subject, text and HTML of a notice, a link or a test mail
//     from the sentences of package locale. wording.go has the sentences of each kind.
//   - [Message] (message.go) becomes a mail in the form of RFC 5322, whose headers no text can
//     break.
//   - [Mailer] (mailer.go) sends it to a mail server by SMTP (smtp.go; RFC 5321, RFC 6409,
//     RFC 8314), or writes it as a file into a directory.
//   - [Error] (error.go) says what went wrong; its class says whether another try may help.
//   - trace.go traces the dialogue with the server, without secrets.
//
// A password is sent over TLS only, and mails are sent without TLS to this machine only. If a mail
// server doesn't offer STARTTLS, or its certificate isn't valid, neither is sent.
package mail
