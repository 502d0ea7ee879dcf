// Package mailserver tests mails as Debian's mail server delivers them and Python reads them.
package mailserver
