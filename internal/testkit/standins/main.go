// Command standins replaces systemctl, apt-get or docker, depending on the name by which
// it is called, on a machine that has neither systemd nor a network. The test of
// docs/five-minutes runs the pages' commands word for word and replaces only these three.
//
// Each stand-in implements only what the pages use of the real program. It fails for anything
// else, so that a page can't use what the stand-in lacks.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	name := filepath.Base(os.Args[0])
	commands := map[string]func(arguments []string) error{"systemctl": systemctl, "apt-get": aptGet, "docker": docker}
	command, ok := commands[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: call this program systemctl, apt-get or docker\n", name)
		os.Exit(2)
	}
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s (stand-in): %v\n", name, err)
		os.Exit(1)
	}
}

func unknown(arguments []string) error {
	return fmt.Errorf("it doesn't know %q", strings.Join(arguments, " "))
}

// aptGet installs package files with dpkg. Packages that are given by name must be
// installed already; aptGet only starts their services, as Debian's packages do when they
// are installed.
func aptGet(arguments []string) error {
	if len(arguments) < 3 || arguments[0] != "install" || arguments[1] != "-y" {
		return unknown(arguments)
	}
	for _, one := range arguments[2:] {
		if strings.Contains(one, "/") {
			if err := runVisibly("dpkg", "--force-unsafe-io", "--install", one); err != nil {
				return err
			}
			continue
		}
		if status, err := exec.Command("dpkg-query", "--show", "--showformat=${Status}", one).Output(); err != nil || string(status) != "install ok installed" {
			return fmt.Errorf("package %s isn't installed on this machine; the tests need it: make deps", one)
		}
		if made := "/usr/lib/tmpfiles.d/" + one + ".conf"; exists(made) {
			if err := runVisibly("systemd-tmpfiles", "--create", made); err != nil {
				return err
			}
		}
		if _, err := readUnit(one); err == nil {
			if err := systemctl([]string{"start", one}); err != nil {
				return err
			}
		}
	}
	return nil
}

// runVisibly runs a program that writes to the output of this one.
func runVisibly(name string, arguments ...string) error {
	cmd := exec.Command(name, arguments...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(arguments, " "), err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
