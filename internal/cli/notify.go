package cli

import (
	"net"
	"os"
)

// notifyReady tells systemd that the server has bound its addresses and is about to answer.
// "systemctl start" returns only then (sd_notify(3), Type=notify). notifyReady has no effect
// unless a service manager asks to be told.
func notifyReady() error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("READY=1"))
	return err
}
