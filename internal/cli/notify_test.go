package cli

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestNotifyReadyTellsTheServiceManager(t *testing.T) {
	for name, socket := range map[string]string{
		"a path":              filepath.Join(t.TempDir(), "notify"),
		"an abstract address": "@sallyport-notify-test",
	} {
		t.Run(name, func(t *testing.T) {
			manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer manager.Close()
			t.Setenv("NOTIFY_SOCKET", socket)
			if err := notifyReady(); err != nil {
				t.Fatal(err)
			}
			if err := manager.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			message := make([]byte, 64)
			n, err := manager.Read(message)
			if err != nil || string(message[:n]) != "READY=1" {
				t.Errorf("the service manager got %q, %v; want READY=1", message[:n], err)
			}
		})
	}
}

func TestNotifyReadyWithoutAServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifyReady(); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "missing"))
	if err := notifyReady(); err == nil {
		t.Error("a socket that doesn't exist gave no error")
	}
}
