package server

import (
	"os"
	"regexp"
	"testing"
	"time"
)

// If a service manager killed the server too early, audit events would stay unsealed.
func TestServiceManagersWaitUntilTheServerHasStopped(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		file, setting string
		before        time.Duration // how much of the waiting time passes before SIGTERM
	}{
		{"systemd/sallyport.service", `(?m)^TimeoutStopSec=(\d+)s$`, 0},
		{"container/compose.yaml", `stop_grace_period: (\d+)s\n`, 0},
		{"kubernetes/sallyport.yaml", `terminationGracePeriodSeconds: (\d+)\n`, 5 * time.Second},
	} {
		text, err := os.ReadFile("../../deploy/" + one.file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(one.setting).FindSubmatch(text)
		if found == nil {
			t.Errorf("%s has no setting that matches %s", one.file, one.setting)
			continue
		}
		if wait, err := time.ParseDuration(string(found[1]) + "s"); err != nil || wait-one.before <= stopTime+restTime {
			t.Errorf("%s waits %v, of which %v pass before SIGTERM; want more than %v after SIGTERM", one.file, wait, one.before, stopTime+restTime)
		}
	}
}
