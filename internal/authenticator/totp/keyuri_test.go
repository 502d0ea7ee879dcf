package totp

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"pgregory.net/rapid"
)

// hostile are names that would add a parameter, end the label, reverse the text's direction
// or exceed the size of the code (attack 69).
var hostile = []string{
	"ada", "", "a&secret=AAAA", "a?issuer=Bank", "a?secret=AAAA#", "a:b", ":", "a%26x", "%", "%zz", "a%3Ab", "a+b", "a b", " ", "a#b", "a/b/../c", "//evil.test", `a\b`, "a;b", "a=b",
	"ada@example.test", "<script>", `"`, "'", "\x00", "a\r\nb", "\xff\xfe", "Jürgen", "李小龙", "🔐 Bank 🔐", "\u202eknaB", "مصرف", "e\u0301",
	strings.Repeat("x", 200), strings.Repeat("&", 200), strings.Repeat("🔐", 200), strings.Repeat("é", 200), strings.Repeat("a:", 200), "otpauth://totp/x?secret=AAAA", "Acme & Söhne: Ops",
}

// checkKeyURI fails the test unless the URI has exactly the given parameters, whatever the names
// contain.
func checkKeyURI(t rapid.TB, issuer, account string, key []byte, p Parameters) {
	uri := KeyURI(issuer, account, key, p)
	if len(uri) > 400 {
		t.Fatalf("%d bytes, want at most 400: %s", len(uri), uri)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatalf("%s: %v", uri, err)
	}
	if u.Scheme != "otpauth" || u.Host != "totp" || u.User != nil || u.Fragment != "" {
		t.Fatalf("%s doesn't begin with otpauth://totp/", uri)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		t.Fatalf("%s: %v", uri, err)
	}
	for name, want := range map[string]string{
		"secret": Base32(key), "algorithm": string(p.Algorithm), "digits": strconv.Itoa(p.Digits), "period": strconv.Itoa(int(p.Period.Seconds())),
	} {
		if got := query[name]; len(got) != 1 || got[0] != want {
			t.Fatalf("%s: %s = %q, want one %q", uri, name, got, want)
		}
	}
	if len(query["issuer"]) != 1 || len(query) != 5 {
		t.Fatalf("%s: parameters %v, want 5, and one issuer", uri, query)
	}
	// Names may be cut, but only at the end.
	shown := query.Get("issuer")
	if whole := strings.ReplaceAll(string([]rune(issuer)), ":", " "); !strings.HasPrefix(whole, shown) || strings.Contains(shown, ":") || len(whole) <= 32 && shown != whole {
		t.Fatalf("%s: issuer %q of %q, want its beginning", uri, shown, issuer)
	}
	name, ok := strings.CutPrefix(u.Path, "/"+shown+":")
	if whole := string([]rune(account)); !ok || !strings.HasPrefix(whole, name) || len(whole) <= 36 && len(key) <= 20 && name != whole {
		t.Fatalf("%s: label %q for issuer %q, account %q; want the beginning of the account", uri, u.Path, shown, account)
	}
}

func TestKeyURISaysWhatItWasMadeOf(t *testing.T) {
	for _, issuer := range hostile {
		for _, account := range hostile {
			checkKeyURI(t, issuer, account, rfcKey, Standard())
		}
	}
}

func TestKeyURIOfAnyNames(t *testing.T) {
	name := rapid.OneOf(rapid.String(), rapid.SampledFrom(hostile), rapid.StringN(100, 300, -1), rapid.StringMatching(`[&?:%=#/+ a-z]{0,40}`))
	rapid.Check(t, func(t *rapid.T) {
		checkKeyURI(t, name.Draw(t, "issuer"), name.Draw(t, "account"), rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "key"),
			rapid.SampledFrom(everyParameters()).Draw(t, "parameters"))
	})
}

func FuzzKeyURI(f *testing.F) {
	for i, issuer := range hostile {
		f.Add(issuer, hostile[len(hostile)-1-i])
	}
	f.Fuzz(func(t *testing.T, issuer, account string) { checkKeyURI(t, issuer, account, rfcKey, Standard()) })
}

func TestKeyURIIsExact(t *testing.T) {
	for _, test := range []struct{ issuer, account, want string }{
		{"Acme", "ada", "otpauth://totp/Acme:ada?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme&algorithm=SHA1&digits=6&period=30"},
		{"Acme & Co", "ada@example.test", "otpauth://totp/Acme%20%26%20Co:ada%40example.test?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme%20%26%20Co&algorithm=SHA1&digits=6&period=30"},
		{"A:B", "a:b", "otpauth://totp/A%20B:a%3Ab?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=A%20B&algorithm=SHA1&digits=6&period=30"},
		{"ü", "🔐", "otpauth://totp/%C3%BC:%F0%9F%94%90?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=%C3%BC&algorithm=SHA1&digits=6&period=30"},
	} {
		if got := KeyURI(test.issuer, test.account, rfcKey, Standard()); got != test.want {
			t.Errorf("KeyURI(%q, %q) =\n%s, want\n%s", test.issuer, test.account, got, test.want)
		}
	}
	for p, want := range map[Parameters]string{
		{SHA256, 8, 60 * time.Second}: "&algorithm=SHA256&digits=8&period=60",
		{SHA512, 7, 30 * time.Second}: "&algorithm=SHA512&digits=7&period=30",
	} {
		if got := KeyURI("Acme", "ada", rfcKey, p); got != "otpauth://totp/Acme:ada?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme"+want {
			t.Errorf("KeyURI with %v = %s, want it to end in %s", p, got, want)
		}
	}
	if got := KeyURI(strings.Repeat("i", 300), strings.Repeat("a", 300), rfcKey, Standard()); len(got) != 400 {
		t.Errorf("the longest URI has %d bytes, want 400: names are cut too early", len(got))
	}
}

func TestBase32ReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "key")
		text := Base32(key)
		if len(text) != 32 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
			t.Fatalf("Base32 = %q, want 32 symbols of the alphabet", text)
		}
		if got, err := ParseBase32(text); err != nil || !bytes.Equal(got, key) {
			t.Fatalf("ParseBase32(%q) = %x, %v; want %x", text, got, err, key)
		}
	})
	for _, bad := range []string{"GEZDGNBVGY3TQOJQ=", "1", "GEZD GNBV", "gezdgnbv"} {
		if got, err := ParseBase32(bad); err == nil {
			t.Errorf("ParseBase32(%q) = %x; want an error", bad, got)
		}
	}
}

// scanned are key URIs that three other implementations read.
var scanned = []struct {
	issuer, account string
	Parameters
}{
	{"Acme", "ada", Standard()},
	{"Acme & Söhne: Ops", "ada+test@example.test", Parameters{SHA256, 8, 60 * time.Second}},
	{"100% ?safe#", "a&secret=AAAA", Parameters{SHA512, 6, 60 * time.Second}},
	{"🔐 Bank", "李小龙", Parameters{SHA256, 7, 30 * time.Second}},
	{"Acme", "ada", Parameters{SHA1, 8, 30 * time.Second}},
	{strings.Repeat("i", 300), strings.Repeat("a", 300), Standard()},
}

func TestForeignAuthenticatorsShowOurCodes(t *testing.T) {
	dir := t.TempDir()
	var entries strings.Builder
	for i, names := range scanned {
		uri := KeyURI(names.issuer, names.account, rfcKey, names.Parameters)
		key, err := otp.NewKeyFromURL(uri)
		if err != nil {
			t.Fatal(err)
		}
		whole := len(uri) < 400
		if want := strings.ReplaceAll(names.issuer, ":", " "); whole && key.Issuer() != want || !strings.HasPrefix(want, key.Issuer()) {
			t.Errorf("pquerna/otp reads the issuer %q, want %q", key.Issuer(), want)
		}
		if want := names.account; whole && key.AccountName() != want || !strings.HasPrefix(want, key.AccountName()) {
			t.Errorf("pquerna/otp reads the account %q, want %q", key.AccountName(), want)
		}
		if key.Type() != "totp" || key.Secret() != Base32(rfcKey) || key.Period() != uint64(names.Period.Seconds()) ||
			key.Digits() != otp.Digits(names.Digits) || key.Algorithm().String() != string(names.Algorithm) {
			t.Errorf("pquerna/otp reads %s %s %d %d %v, want the parameters of the URI", key.Type(), key.Secret(), key.Period(), key.Digits(), key.Algorithm())
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if got, want := oathtool(t, names.Parameters, u.Query().Get("secret"), now, 1)[0], names.CodeAt(rfcKey, now); got != want {
			t.Errorf("oathtool shows %s, want %s", got, want)
		}
		var escaped bytes.Buffer
		if err := xml.EscapeText(&escaped, []byte(uri)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&entries, `<Entry><UUID>AAAAAAAAAAAAAAAAAAAAA%cg==</UUID><String><Key>Title</Key><Value>e%d</Value></String><String><Key>otp</Key><Value>%s</Value></String></Entry>`,
			'A'+i, i, &escaped)
	}
	export, base := filepath.Join(dir, "export.xml"), filepath.Join(dir, "base.kdbx")
	text := `<?xml version="1.0" encoding="UTF-8"?><KeePassFile><Root><Group><UUID>BAAAAAAAAAAAAAAAAAAAAQ==</UUID><Name>Root</Name>` + entries.String() + `</Group></Root></KeePassFile>`
	if err := os.WriteFile(export, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	keepassxc(t, "p\np\n", "import", "--quiet", "--decryption-time", "100", "--set-password", export, base)
	for i, names := range scanned {
		before := names.CodeAt(rfcKey, time.Now())
		got := keepassxc(t, "p\n", "show", "--quiet", "--totp", base, fmt.Sprintf("/e%d", i))
		if after := names.CodeAt(rfcKey, time.Now()); got != before && got != after {
			t.Errorf("KeePassXC shows %q for %q, %q; want %s or %s", got, names.issuer, names.account, before, after)
		}
	}
}

// keepassxc runs keepassxc-cli and returns what it prints.
func keepassxc(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("keepassxc-cli", args...)
	cmd.Stdin, cmd.Env = strings.NewReader(input), append(os.Environ(), "HOME="+t.TempDir(), "QT_QPA_PLATFORM=offscreen")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("keepassxc-cli %v: %v (Debian package keepassxc)\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestQRCodeHoldsTheKeyURI(t *testing.T) {
	for _, names := range scanned {
		uri := KeyURI(names.issuer, names.account, rfcKey, names.Parameters)
		svg, err := QR(uri, "QR code")
		if err != nil {
			t.Fatal(err)
		}
		got := scan(t, svg)
		if got != uri {
			t.Errorf("zbarimg reads\n%s, want\n%s", got, uri)
			continue
		}
		// The phone gets a secret of 160 bits (R29).
		u, err := url.Parse(got)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := ParseBase32(u.Query().Get("secret")); err != nil || len(key)*8 != 160 || !bytes.Equal(key, rfcKey) {
			t.Errorf("secret in the QR code: %d bits, %v; want the 160 bits of the key", len(key)*8, err)
		}
	}
}

// scan renders the SVG as an image and reads it with zbarimg.
func scan(t *testing.T, svg string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "qr.png")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, rasterise(t, svg)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("zbarimg", "--quiet", "--raw", "--nodbus", "--set", "disable", "--set", "qrcode.enable", name).Output()
	if err != nil {
		t.Fatalf("zbarimg: %v (Debian package zbar-tools)", err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// pathCommand matches the commands that QR draws with: relative lines, closed to rectangles.
var pathCommand = regexp.MustCompile(`[MhvHz][^MhvHz]*`)

// rasterise draws the paths of an SVG with five pixels per unit.
func rasterise(t *testing.T, svg string) image.Image {
	t.Helper()
	const scale = 5
	var root struct {
		ViewBox string `xml:"viewBox,attr"`
		Paths   []struct {
			Fill string `xml:"fill,attr"`
			D    string `xml:"d,attr"`
		} `xml:"path"`
	}
	if err := xml.Unmarshal([]byte(svg), &root); err != nil {
		t.Fatalf("SVG: %v", err)
	}
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("SVG: %v", err)
		}
		return n
	}
	box := strings.Fields(root.ViewBox)
	if len(box) != 4 || box[0] != "0" || box[1] != "0" {
		t.Fatalf("SVG: viewBox %q", root.ViewBox)
	}
	img := image.NewGray(image.Rect(0, 0, number(box[2])*scale, number(box[3])*scale))
	draw.Draw(img, img.Rect, image.NewUniform(color.Gray{128}), image.Point{}, draw.Src)
	for _, path := range root.Paths {
		fill, known := map[string]color.Gray{"#fff": {255}, "#000": {0}}[path.Fill]
		if !known {
			t.Fatalf("SVG: fill %q", path.Fill)
		}
		if strings.Join(pathCommand.FindAllString(path.D, -1), "") != path.D {
			t.Fatalf("SVG: path %q", path.D)
		}
		var x, y int
		var area image.Rectangle
		for _, command := range pathCommand.FindAllString(path.D, -1) {
			switch values := command[1:]; command[0] {
			case 'M':
				xs, ys, _ := strings.Cut(values, " ")
				x, y = number(xs), number(ys)
				area = image.Rect(x, y, x, y)
			case 'h':
				x += number(values)
			case 'H':
				x = number(values)
			case 'v':
				y += number(values)
			case 'z':
				pixels := image.Rectangle{Min: area.Min.Mul(scale), Max: area.Max.Mul(scale)}
				draw.Draw(img, pixels, image.NewUniform(fill), image.Point{}, draw.Src)
			}
			area = image.Rect(min(area.Min.X, x), min(area.Min.Y, y), max(area.Max.X, x), max(area.Max.Y, y))
		}
	}
	return img
}

func TestQRCodeHasItsMargin(t *testing.T) {
	svg, err := QR(KeyURI("Acme", "ada", rfcKey, Standard()), "QR code")
	if err != nil {
		t.Fatal(err)
	}
	img := rasterise(t, svg)
	const margin = 4 * 5 // four modules of five pixels
	size := img.Bounds().Dx()
	black := image.Rectangle{Min: image.Pt(size, size)}
	for y := range size {
		for x := range size {
			switch gray := img.At(x, y).(color.Gray).Y; gray {
			case 0:
				black = image.Rect(min(black.Min.X, x), min(black.Min.Y, y), max(black.Max.X, x+1), max(black.Max.Y, y+1))
			case 255:
			default:
				t.Fatalf("pixel %d,%d isn't painted: the background of a dark page would show", x, y)
			}
		}
	}
	if want := image.Rect(margin, margin, size-margin, size-margin); black != want {
		t.Errorf("modules cover %v, want %v", black, want)
	}
}

func TestQRLabelIsText(t *testing.T) {
	const label = `"><script>alert(1)</script> & 'quoted'`
	svg, err := QR("otpauth://totp/a", label)
	if err != nil {
		t.Fatal(err)
	}
	var root struct {
		Label  string     `xml:"aria-label,attr"`
		Script []struct{} `xml:"script"`
	}
	if err := xml.Unmarshal([]byte(svg), &root); err != nil || root.Label != label || len(root.Script) != 0 {
		t.Errorf("the label is read as %q, with %d scripts, %v; want the label and no script", root.Label, len(root.Script), err)
	}
	for _, inline := range []string{"<script", "<style", " style=", " on", "href"} {
		if strings.Contains(svg, inline) {
			t.Errorf("the SVG has %q, which the content security policy forbids", inline)
		}
	}
	if _, err := QR(strings.Repeat("x", 5000), ""); err == nil {
		t.Error("5,000 bytes didn't exceed the size of a QR code")
	}
}
