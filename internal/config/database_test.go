package config

import (
	"strings"
	"testing"
)

// Passwords in the test are such as "ge@heim" and "4711/geheim", without percent-encoding.
// Each part of one contains one of these words.
var passwordParts = []string{"heim", "4711"}

func TestAmbiguousDatabaseURLsAreRefused(t *testing.T) {
	for _, text := range []string{
		"postgres://sp:ge@heim@db.example.com/sp",
		"postgres://sp:4711/geheim@db.example.com/sp",
		"postgres://sp:4711/geheim@db.example.com:5432/sp?sslmode=disable",
		"postgres://sp:4711?geheim@db.example.com/sp",
		"postgres://sp:4711#geheim@db.example.com/sp",
		"postgres://sp:geheim#4711",
		"postgres://sp:/geheim@db.example.com/sp",
		"postgres://sp:4711@/geheim@db.example.com/sp",
		"postgres://sp:ge@heim/4711@db.example.com/sp",
		"postgres://sp:ge:heim/x@db.example.com/sp",
		"postgres://sp:geheim@@db.example.com/sp",
		"postgres://sp:ge heim@db.example.com/sp",
		"postgres://sp:ge%heim@db.example.com/sp",
		"postgres://sp:ge[heim@db.example.com/sp",
		"postgres://sp:ge\\heim@db.example.com/sp",
		"postgres://sp:gehéim@db.example.com/sp",
		"postgres://sp:geheim",
		"postgres://sp:4711",
		"postgres://sp@geheim:x:4711/sp",
		"postgres://sp:4711geheim/sp",
		"postgres://sp:geheim@:5432/sp",
		"postgres://sp:geheim@db.example.com:/sp",
		"postgres://sp:geheim@db.example.com:0/sp",
		"postgres://sp:geheim@db.example.com:4711geheim/sp",
		"postgres://sp:geheim@a.example.com,,b.example.com/sp",
		"postgres://sp:geheim@db%40example.com/sp",
		"postgres://sp:geheim@[::1/sp",
		"postgres://sp:geheim@db.example.com/sp/more",
		"postgres://db.example.com/sp?user=sp&password=ge&heim=4711",
		"postgres://db.example.com/sp?user=sp&password=ge&heim",
		"postgres://db.example.com/sp?user=sp&password=ge+heim",
		"postgres://db.example.com/sp?user=sp&password=ge@heim",
		"postgres://db.example.com/sp?user=sp&password=ge;heim",
		"postgres://db.example.com/sp?user=sp&password=ge%heim",
		"postgres://db.example.com/sp?user=sp&password=4711#geheim",
		"postgres://db.example.com/sp?sslpassword=ge&heim=1",
		"postgres://db.example.com/sp?password=geheim&password=4711",
		"postgres://sp@db.example.com/sp?host=sp:geheim",
		"postgres://sp@db.example.com/sp?port=geheim",
		"postgresql://sp:4711/geheim@db.example.com/sp",
		"postgres:sp:geheim@db.example.com/sp",
		"postgres:/sp:geheim@db.example.com/sp",
		"host=db.example.com user=sp password=geheim",
		"host=db.example.com password='ge heim'",
		"password=4711 host=postgres://geheim",
		"sp:geheim@db.example.com/sp",
		" postgres://sp:geheim@db.example.com/sp",
		"postgres://sp:geheim@db.example.com/sp\n",
		"mysql://sp:geheim@db.example.com/sp",
	} {
		for _, settings := range [][]string{
			{"SALLYPORT_DATABASE=" + text},
			{"SALLYPORT_DATABASE=postgres://pooler/sp", "SALLYPORT_POOLER=true", "SALLYPORT_DATABASE_DIRECT=" + text},
		} {
			_, err := loadText("", settings...)
			if err == nil {
				t.Errorf("%q is accepted", text)
				continue
			}
			for _, part := range passwordParts {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%q: the fault contains a part of the password: %v", text, err)
				}
			}
		}
	}
}

func TestUnambiguousDatabaseURLsAreAccepted(t *testing.T) {
	for _, text := range []string{
		"postgres://sp:ge%40heim@db.example.com/sp",
		"postgres://sp:4711%2Fge%3Fhe%23im@db.example.com:5432/sp?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem",
		"postgres://sp:ge:heim!$&'()*+,;=~@db.example.com/sp",
		"postgres://sp:geheim@db.example.com",
		"postgres://sp@db.example.com/sp",
		"postgres://db.example.com:5432/sp",
		"postgres:///sp",
		"postgres:///sp?host=/run/postgresql",
		"postgres://sp:geheim@/sp?host=/run/postgresql&port=5433",
		"postgres://sp:geheim@%2Frun%2Fpostgresql/sp",
		"postgres://sp:geheim@[fd00::7]:5432/sp",
		"postgres://sp:geheim@192.0.2.7/sp?connect_timeout=3",
		"postgres://sp:geheim@a.example.com:5432,b.example.com:5433/sp?target_session_attrs=read-write",
		"postgresql://db_1.example.com/sp?user=sp&password=ge%26he%2Bim&application_name=portal",
		"postgres://db.example.com/sp?service=sp&passfile=/run/secrets/pgpass",
		"",
	} {
		if _, err := loadText("", "SALLYPORT_DATABASE="+text); err != nil {
			t.Errorf("%q: %v, want no fault", text, err)
		}
	}
}
