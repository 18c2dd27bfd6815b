package provision

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// As PostgreSQL does by default: scram_iterations, and SCRAM_DEFAULT_SALT_LEN of its sources.
const (
	scramIterations = 4096
	scramSaltBytes  = 16
)

// Verifier is what PostgreSQL stores of a password (RFC 5802, RFC 7677): made here, so that the password itself is in no
// statement, and so in no log of the server. A password that it cannot be made of is refused; the error does not show it.
func Verifier(password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	salt := make([]byte, scramSaltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return verifierOf(password, salt, scramIterations)
}

func verifierOf(password string, salt []byte, iterations int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(keyed(salted, "Client Key"))
	text := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, text(salt), text(stored[:]), text(keyed(salted, "Server Key"))), nil
}

func keyed(key []byte, message string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

// encrypted is the form of a stored password, which a person may take for the password.
var encrypted = regexp.MustCompile(`^(SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+|md5[0-9a-f]{32})$`)

// checkPassword refuses what PostgreSQL's clients would not log in with.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case encrypted.MatchString(password):
		return errors.New("this is a stored form of a password; give the password itself")
	case strings.ContainsRune(password, 0):
		return errors.New("the password has a zero character")
	case !utf8.ValidString(password):
		return errors.New("the password is not valid UTF-8")
	case preparationMayChange(password):
		return errors.New("the password has a character that clients write in different forms (SASLprep); give it in the form NFKC without special spaces, or set it with psql's \\password")
	}
	return nil
}

// preparationMayChange says whether SASLprep (RFC 4013), which PostgreSQL's clients apply, can make other bytes of a password.
// Where it cannot, it does not matter either that they take a password as it is which SASLprep forbids, nor what their version of
// Unicode knows: https://www.postgresql.org/docs/current/protocol-message-formats.html, SASLInitialResponse.
func preparationMayChange(password string) bool {
	return strings.IndexFunc(password, func(r rune) bool { return unicode.Is(mapped, r) }) >= 0 || !norm.NFKC.IsNormalString(password)
}

// mapped are the characters that SASLprep drops (table B.1 of RFC 3454) or makes a plain space (C.1.2).
var mapped = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x00A0, Hi: 0x00A0, Stride: 1}, {Lo: 0x00AD, Hi: 0x00AD, Stride: 1}, {Lo: 0x034F, Hi: 0x034F, Stride: 1},
	{Lo: 0x1680, Hi: 0x1680, Stride: 1}, {Lo: 0x1806, Hi: 0x1806, Stride: 1}, {Lo: 0x180B, Hi: 0x180D, Stride: 1},
	{Lo: 0x2000, Hi: 0x200D, Stride: 1}, {Lo: 0x202F, Hi: 0x202F, Stride: 1}, {Lo: 0x205F, Hi: 0x2060, Stride: 1},
	{Lo: 0x3000, Hi: 0x3000, Stride: 1}, {Lo: 0xFE00, Hi: 0xFE0F, Stride: 1}, {Lo: 0xFEFF, Hi: 0xFEFF, Stride: 1},
}, LatinOffset: 2}
