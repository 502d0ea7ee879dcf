package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	// image is the directory with the files of the image that build makes. The only
	// container runs in this directory.
	image = "/srv/image"

	// containerUser is the user in the line USER of the Containerfile.
	containerUser = 65532

	// otherServices is the address of all services except Sallyport. The test answers for them.
	otherServices = "127.0.0.2"
)

func docker(arguments []string) error {
	switch {
	case len(arguments) == 6 && slices.Equal(arguments[:4], []string{"build", "-t", "sallyport", "-f"}):
		return build(arguments[4], arguments[5])
	case slices.Equal(arguments, []string{"compose", "up", "-d", "--wait"}):
		return up()
	case len(arguments) > 3 && slices.Equal(arguments[:3], []string{"compose", "exec", "sallyport"}):
		c, err := readComposition()
		if err != nil {
			return err
		}
		cmd, err := c.command(arguments[3:])
		if err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd.Run()
	case len(arguments) == 3 && arguments[0] == "publish":
		return publish(arguments[1], arguments[2])
	}
	return unknown(arguments)
}

// build creates the files that the Containerfile's last stage copies. It doesn't build the
// program: the test has done that, since there is no network to fetch a compiler.
func build(file, context string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), fmt.Sprintf("\nUSER %d:%[1]d\n", containerUser)) || !exists(filepath.Join(context, "go.mod")) {
		return errors.New("that isn't Sallyport's Containerfile and clone")
	}
	for _, line := range []string{
		"install -D /usr/local/lib/sallyport " + image + "/usr/bin/sallyport",
		"install -D /etc/ssl/certs/ca-certificates.crt " + image + "/etc/ssl/certs/ca-certificates.crt",
		fmt.Sprintf("install -d -m 0700 -o %d -g %[1]d %s/var/lib/sallyport", containerUser, image),
	} {
		words := strings.Fields(line)
		if err := runVisibly(words[0], words[1:]...); err != nil {
			return err
		}
	}
	settings := regexp.MustCompile(`(?m)^ENV (.*)$`).FindStringSubmatch(string(text))
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT (.*)\nCMD (.*)$`).FindStringSubmatch(string(text))
	if settings == nil || entry == nil {
		return fmt.Errorf("%s has no ENV, or no ENTRYPOINT and CMD", file)
	}
	return os.WriteFile(image+".json", fmt.Appendf(nil, `{"env": %q, "entrypoint": %s, "cmd": %s}`, settings[1], entry[1], entry[2]), 0o600)
}

// built holds the settings of the image. The function build stores them.
type built struct {
	Env             string
	Entrypoint, Cmd []string
}

// composition is the content of compose.yaml and the settings of the image.
type composition struct {
	Services map[string]struct {
		Image       string
		Environment map[string]string
		Ports       []string
		Volumes     []string
		Healthcheck struct{ Test []string }
	}
	built
}

func readComposition() (c composition, err error) {
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		return c, err
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		return c, err
	}
	if text, err = os.ReadFile(image + ".json"); err != nil {
		return c, err
	}
	return c, json.Unmarshal(text, &c.built)
}

// command returns a command that runs in the container.
func (c composition) command(arguments []string) (*exec.Cmd, error) {
	service := c.Services["sallyport"]
	environ := append([]string{"PATH=/usr/bin"}, strings.Fields(c.Env)...)
	for name, value := range service.Environment {
		environ = append(environ, name+"="+value)
	}
	path := arguments[0]
	if !strings.Contains(path, "/") {
		path = "/usr/bin/" + path
	}
	if !exists(image + path) {
		return nil, fmt.Errorf("the image has no %s", path)
	}
	return &exec.Cmd{Path: path, Args: arguments, Env: environ, Dir: "/var/lib/sallyport", SysProcAttr: &syscall.SysProcAttr{
		Chroot: image, Credential: &syscall.Credential{Uid: containerUser, Gid: containerUser}, Setsid: true,
	}}, nil
}

// up mounts the volumes, starts Sallyport's process, publishes its ports and waits for
// the health check.
func up() error {
	c, err := readComposition()
	if err != nil {
		return err
	}
	service := c.Services["sallyport"]
	if service.Image != "sallyport" && service.Image != "sallyport:latest" {
		return fmt.Errorf("the image of service sallyport is %s", service.Image)
	}
	hosts := ""
	for name := range c.Services {
		hosts += otherServices + " " + name + "\n"
	}
	if err := os.WriteFile(image+"/etc/hosts", []byte(hosts), 0o644); err != nil {
		return err
	}
	for _, volume := range service.Volumes {
		if err := mountVolume(volume); err != nil {
			return err
		}
	}
	cmd, err := c.command(append(c.Entrypoint, c.Cmd...))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(state, 0o711); err != nil {
		return err
	}
	log, err := os.Create(state + "sallyport.log")
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, port := range service.Ports {
		outer, inner, ok := strings.Cut(port, ":")
		if !ok {
			return fmt.Errorf("port %q", port)
		}
		if err := (&exec.Cmd{Path: "/proc/self/exe", Args: []string{"docker", "publish", outer, inner}, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}).Start(); err != nil {
			return err
		}
	}
	return c.waitUntilHealthy()
}

// mountVolume mounts a directory or file of this machine, or a named volume, in the container.
func mountVolume(volume string) error {
	parts := strings.Split(volume, ":")
	if len(parts) < 2 {
		return fmt.Errorf("volume %q", volume)
	}
	source, target := parts[0], image+parts[1]
	if !strings.HasPrefix(source, ".") {
		// Docker fills a new named volume with the image's files at its place; it is writable.
		source = target
	} else if info, err := os.Stat(source); err != nil {
		return err
	} else if info.IsDir() {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
	} else if err := runVisibly("install", "-D", "/dev/null", target); err != nil {
		return err
	}
	if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", volume, err)
	}
	if len(parts) == 3 && parts[2] == "ro" {
		return syscall.Mount("", target, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, "")
	}
	return nil
}

// waitUntilHealthy waits until the health check succeeds.
func (c composition) waitUntilHealthy() error {
	test := c.Services["sallyport"].Healthcheck.Test
	if len(test) < 2 || test[0] != "CMD" {
		return errors.New("service sallyport has no healthcheck")
	}
	output := []byte{}
	for end := time.Now().Add(unitTime); time.Now().Before(end); time.Sleep(poll) {
		cmd, err := c.command(test[1:])
		if err != nil {
			return err
		}
		if output, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("service sallyport isn't healthy: %s; its log is %ssallyport.log", output, state)
}

// publish forwards connections from a port of this machine to a port of the container.
func publish(outer, inner string) error {
	for _, port := range []string{outer, inner} {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+outer)
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", "127.0.0.1:"+inner)
			if err != nil {
				return
			}
			defer server.Close()
			go func() {
				io.Copy(server, client)
				server.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(client, server)
		}()
	}
}
