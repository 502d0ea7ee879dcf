// Package config reads the operator's configuration: a YAML file, and environment variables that
// override its keys. It accepts no unknown key, and reports every fault at once, with file, line
// and key.
//
// [Config] (config.go) documents every key. [Load] (load.go) reads the file and the environment.
// These files have the parts of Load:
//
//	syntax.go       says what to change after an error of the YAML parser
//	decode.go       stores a value in its field, whose type checks it: values.go, origin.go,
//	                database.go, appearance.go, tls.go, mail.go, webhook.go, secret.go
//	servicelink.go  recognizes variables that Kubernetes sets, which are ignored
//	rules.go        checks what concerns several keys; panels.go does so for panels
//
// [Faults] (fault.go) say what to write, and never contain a secret. [Config.Warnings]
// (literal.go) finds values that are valid but probably a mistake. [Places.Show] (show.go) prints the
// configuration without secrets, with the source of each key.
//
// The package imports no other package of Sallyport. Only cli and server import it and pass plain
// values on, so that no other package depends on the form of the configuration.
package config
