// Package mail writes mails to the owners of accounts and sends them. It owns no table. Its callers
// decide which mails are sent. The [Class] of an error tells them when to try a failed mail again.
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
// A password is sent only over TLS. A mail is sent without TLS only to a server on this machine. If
// another mail server doesn't offer STARTTLS, or its certificate isn't valid, neither is sent.
package mail
