package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// state is the directory for process ids, sockets and logs of the units.
	state = "/run/standins/"

	// unitTime limits how long a unit takes to start or stop.
	unitTime = 20 * time.Second

	poll = 5 * time.Millisecond
)

func systemctl(arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "enable" && arguments[1] == "--now":
		return onUnit(arguments[2], start)
	case len(arguments) == 2 && arguments[0] == "start":
		return onUnit(arguments[1], start)
	case len(arguments) == 2 && arguments[0] == "restart":
		return onUnit(arguments[1], func(u unit) error { return errors.Join(stop(u), start(u)) })
	case len(arguments) == 2 && arguments[0] == "reload":
		return onUnit(arguments[1], reload)
	}
	return unknown(arguments)
}

func onUnit(name string, do func(unit) error) error {
	u, err := readUnit(name)
	if err != nil {
		return err
	}
	return do(u)
}

// unit is what the section [Service] of a unit file and of its drop-ins says.
type unit struct {
	name string
	keys map[string][]string
}

func readUnit(name string) (unit, error) {
	u := unit{name, map[string][]string{}}
	file := name + ".service"
	paths := []string{"/etc/systemd/system/" + file, "/usr/lib/systemd/system/" + file}
	i := slices.IndexFunc(paths, exists)
	if i < 0 {
		return u, fmt.Errorf("there is no unit %s", file)
	}
	dropIns, err := filepath.Glob("/etc/systemd/system/" + file + ".d/*.conf")
	if err != nil {
		return u, err
	}
	for _, path := range append(paths[i:i+1], dropIns...) {
		text, err := os.ReadFile(path)
		if err != nil {
			return u, err
		}
		u.add(string(text))
	}
	return u, nil
}

func (u unit) add(text string) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, ok := strings.Cut(line, "=")
		switch {
		case section != "[Service]" || !ok || strings.HasPrefix(line, "#"):
		case value == "" && key != "CapabilityBoundingSet": // an empty value clears the list
			u.keys[key] = nil
		default:
			u.keys[key] = append(u.keys[key], value)
		}
	}
}

// last returns the last value of a key, which is the one in force for keys that have only one
// value. If the key is missing, it returns "".
func (u unit) last(key string) string {
	if values := u.keys[key]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// command returns the command of a line, such as the value of ExecStart, with the unit's user,
// environment and log. The line's prefix "-" means mayFail: systemd ignores the command's failure.
func (u unit) command(line string, environ ...string) (cmd *exec.Cmd, mayFail bool, err error) {
	line, mayFail = strings.CutPrefix(line, "-")
	environ = append(environ, "PATH="+os.Getenv("PATH"), "LANG=C.UTF-8", "INVOCATION_ID="+u.name)
	for _, quoted := range u.keys["Environment"] {
		environ = append(environ, words(quoted)...)
	}
	value := func(name string) string {
		for _, one := range slices.Backward(environ) {
			if found, ok := strings.CutPrefix(one, name+"="); ok {
				return found
			}
		}
		return ""
	}
	var arguments []string
	for _, word := range words(line) {
		if strings.HasPrefix(word, "$") { // if a word is a variable alone, systemd splits its value
			arguments = append(arguments, strings.Fields(value(word[1:]))...)
		} else {
			arguments = append(arguments, word)
		}
	}
	cmd = exec.Command(arguments[0], arguments[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", environ, &syscall.SysProcAttr{Setsid: true}
	if name := u.last("User"); name != "" {
		owner, err := user.Lookup(name)
		if err != nil {
			return nil, false, err
		}
		cmd.Env = append(cmd.Env, "USER="+name, "LOGNAME="+name, "HOME="+owner.HomeDir)
		if cmd.SysProcAttr.Credential, err = credential(owner); err != nil {
			return nil, false, err
		}
		cmd.SysProcAttr.AmbientCaps = u.capabilities()
	}
	log, err := os.OpenFile(state+u.name+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, false, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	return cmd, mayFail, nil
}

// words splits a line at its spaces, except within quotes, and removes the quotes.
func words(line string) (all []string) {
	word, quote, started := "", rune(0), false
	for _, r := range line + " " {
		switch {
		case quote == 0 && (r == '"' || r == '\''):
			quote, started = r, true
		case r == quote:
			quote = 0
		case quote == 0 && r == ' ':
			if started {
				all = append(all, word)
			}
			word, started = "", false
		default:
			word, started = word+string(r), true
		}
	}
	return all
}

func credential(owner *user.User) (*syscall.Credential, error) {
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(owner.Gid)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// capabilities returns the capabilities of the unit's process. It knows only the one that the
// pages need, which is for ports below 1024.
func (u unit) capabilities() []uintptr {
	const port = "CAP_NET_BIND_SERVICE"
	_, bounded := u.keys["CapabilityBoundingSet"]
	switch {
	case bounded && u.last("CapabilityBoundingSet") != port, u.last("AmbientCapabilities") != port:
		return nil
	case u.last("PrivateUsers") == "yes": // then the capability is for a user namespace, which owns no ports
		return nil
	}
	return []uintptr{unix.CAP_NET_BIND_SERVICE}
}

// start starts the unit and waits until the unit is active in systemd's sense.
func start(u unit) error {
	if _, running := u.mainProcess(); running {
		return nil
	}
	if err := os.MkdirAll(state, 0o711); err != nil {
		return err
	}
	for _, line := range u.keys["ExecStartPre"] {
		if err := u.run(line); err != nil {
			return err
		}
	}
	switch kind := u.last("Type"); kind {
	case "forking":
		return u.run(u.last("ExecStart"))
	case "exec", "notify":
		return u.background(kind == "notify")
	default:
		return fmt.Errorf("%s is of Type=%s, which it doesn't know", u.name, kind)
	}
}

// run runs a command of the unit and waits until it has ended.
func (u unit) run(line string, environ ...string) error {
	cmd, mayFail, err := u.command(line, environ...)
	if err != nil {
		return err
	}
	if err := cmd.Run(); err != nil && !mayFail {
		return u.failed(line, err)
	}
	return nil
}

func (u unit) failed(line string, err error) error {
	return fmt.Errorf("%s: %s: %w; its log is %s%[1]s.log", u.name, line, err, state)
}

// background starts the main process. If notify is true, it waits until the process reports
// that it is ready.
func (u unit) background(notify bool) error {
	socket := state + u.name + ".notify"
	os.Remove(socket)
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer ready.Close()
	if err := os.Chmod(socket, 0o666); err != nil { // for a service that runs as another user
		return err
	}
	line := u.last("ExecStart")
	cmd, _, err := u.command(line, "NOTIFY_SOCKET="+socket)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(state+u.name+".pid", []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil || !notify {
		return err
	}
	go func() {
		cmd.Wait()
		ready.Close()
	}()
	if err := ready.SetReadDeadline(time.Now().Add(unitTime)); err != nil {
		return err
	}
	for message := make([]byte, 4096); ; {
		n, err := ready.Read(message)
		if err != nil {
			return u.failed(line, errors.New("it ended or didn't get ready"))
		}
		if slices.Contains(strings.Fields(string(message[:n])), "READY=1") {
			return nil
		}
	}
}

// mainProcess returns the id of the unit's main process and whether the process is running.
func (u unit) mainProcess() (pid int, running bool) {
	file := state + u.name + ".pid"
	if u.last("PIDFile") != "" {
		file = u.last("PIDFile")
	}
	if text, err := os.ReadFile(file); err == nil {
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	} else if u.last("Type") == "forking" {
		pid = guessMainProcess(u.name)
	}
	if pid == 0 {
		return 0, false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// A zombie is a process that has ended but still has an entry in /proc.
	return pid, err == nil && !bytes.Contains(status, []byte(") Z "))
}

// guessMainProcess finds the unit's main process as systemd does without a PIDFile: it returns
// the id of a process of the unit whose parent is process 1, or 0 if there is none.
func guessMainProcess(unit string) int {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		environ, _ := os.ReadFile(path)
		status, _ := os.ReadFile(filepath.Dir(path) + "/status")
		if bytes.Contains(environ, []byte("INVOCATION_ID="+unit+"\x00")) && bytes.Contains(status, []byte("\nPPid:\t1\n")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

func stop(u unit) error {
	pid, running := u.mainProcess()
	if !running {
		return nil
	}
	if line := u.last("ExecStop"); line != "" {
		if err := u.run(line, fmt.Sprint("MAINPID=", pid)); err != nil {
			return err
		}
	} else if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	for end := time.Now().Add(unitTime); time.Now().Before(end); time.Sleep(poll) {
		if _, running := u.mainProcess(); !running {
			return nil
		}
	}
	return fmt.Errorf("%s doesn't stop", u.name)
}

func reload(u unit) error {
	pid, running := u.mainProcess()
	if !running {
		return fmt.Errorf("%s isn't active", u.name)
	}
	for _, line := range u.keys["ExecReload"] {
		if err := u.run(line, fmt.Sprint("MAINPID=", pid)); err != nil {
			return err
		}
	}
	return nil
}
