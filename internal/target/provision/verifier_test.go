package provision

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The exchange of RFC 7677, section 3: a server that has the verifier accepts the client's proof and signs as it is written there.
func TestVerifierFitsTheExampleOfTheRFC(t *testing.T) {
	decode := func(s string) []byte {
		out, err := base64.StdEncoding.DecodeString(s)
		require.NoError(t, err)
		return out
	}
	verifier, err := verifierOf("pencil", decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
	require.NoError(t, err)
	parts := regexp.MustCompile(`^SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$(.+):(.+)$`).FindStringSubmatch(verifier)
	require.Len(t, parts, 3, verifier)
	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	exchange := "n=user,r=rOprNGfwEbeRWgbNEkqO,r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=" + nonce
	require.Equal(t, decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), keyed(decode(parts[2]), exchange))
	client := decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	for i, b := range keyed(decode(parts[1]), exchange) {
		client[i] ^= b
	}
	stored := sha256.Sum256(client)
	require.Equal(t, decode(parts[1]), stored[:])
}

func TestVerifierHasItsOwnSalt(t *testing.T) {
	first, err := Verifier("pencil")
	require.NoError(t, err)
	second, err := Verifier("pencil")
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.Regexp(t, encrypted, first)
}

// TestPasswordsThatClientsWriteDifferently: what SASLprep leaves as it is can be set, all else is refused without being shown.
func TestPasswordsThatClientsWriteDifferently(t *testing.T) {
	for _, fine := range []string{"a", " ", "\x01\t", "pässword", "пароль", "密码🔑", "שלום a", "SCRAM-SHA-256$x", "md5 is old", strings.Repeat("x", 2000)} {
		_, err := Verifier(fine)
		require.NoError(t, err, "%q", fine)
	}
	for password, why := range map[string]string{
		"":                                      "empty",
		"a\x00b":                                "zero",
		"a\xff":                                 "UTF-8",
		"pa\u0308ss":                            "SASLprep", // a letter and its dots, two characters
		"\u2168 legions":                        "SASLprep", // a Roman numeral, a compatibility character
		"one\u00a0two":                          "SASLprep",
		"soft\u00adhyph":                        "SASLprep",
		"md5" + strings.Repeat("0a", 16):        "stored form",
		"SCRAM-SHA-256$4096:c2FsdA==$a2V5:a2V5": "stored form",
	} {
		_, err := Verifier(password)
		require.ErrorContains(t, err, why)
		if password != "" {
			require.NotContains(t, err.Error(), password)
		}
	}
}
