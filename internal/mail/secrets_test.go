package mail

import (
	"encoding/base64"
	"net/textproto"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/secret"
)

func TestAnswersThatRepeatSecretsAreStarred(t *testing.T) {
	const user, password = "mailer", "tide-table"
	token := secret.NewToken().Reveal()
	m := &Mailer{User: user, Password: secret.NewText(password)}
	for _, repeated := range []string{
		password,
		base64.StdEncoding.EncodeToString([]byte(password)),
		base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password)),
		token,
		"https://auth.example.com/reset?ticket=" + token,
	} {
		err := m.refused("AUTH", &textproto.Error{Code: 535, Msg: "5.7.8 refused: " + repeated + " (id 4Xk9)"}, Setup)
		if text := err.Error(); strings.Contains(text, password) || strings.Contains(text, token) || strings.Contains(text, repeated) {
			t.Errorf("the error quotes %q: %s", repeated, text)
		}
		if !strings.Contains(err.Error(), "(id 4Xk9)") || err.Status != "5.7.8" {
			t.Errorf("the error lacks the rest of the answer: %s, status %q", err, err.Status)
		}
	}
}
