// Makes the certificates of one test cluster: reads a list of subjects as JSON on stdin, writes ca.crt, NAME.crt and
// NAME.key for each, and the key pair that signs ServiceAccount tokens, into the directory given as argument.
// Written here rather than called from openssl so that the rig needs nothing but the Go toolchain it builds with.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

type subject struct {
	Name         string   `json:"name"`
	CommonName   string   `json:"common_name"`
	Organization []string `json:"organization"`
	DNSNames     []string `json:"dns_names"`
	Addresses    []string `json:"addresses"`
}

const lifetime = 365 * 24 * time.Hour

func main() {
	log.SetFlags(0)
	directory := os.Args[1]
	var subjects []subject
	check(json.NewDecoder(os.Stdin).Decode(&subjects))
	authorityKey, authority := makeAuthority()
	write(directory, "ca.crt", "CERTIFICATE", authority.Raw, 0o644)
	writeKey(directory, "ca.key", authorityKey)
	for _, wanted := range subjects {
		key := newKey()
		write(directory, wanted.Name+".crt", "CERTIFICATE", issue(wanted, key, authority, authorityKey), 0o644)
		writeKey(directory, wanted.Name+".key", key)
	}
	// RSA, as kubeadm makes it: Entra takes no other tokens of a cluster (RS256 alone).
	serviceAccounts, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	public, err := x509.MarshalPKIXPublicKey(serviceAccounts.Public())
	check(err)
	write(directory, "service-accounts.key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(serviceAccounts), 0o600)
	write(directory, "service-accounts.pub", "PUBLIC KEY", public, 0o644)
}

func makeAuthority() (*ecdsa.PrivateKey, *x509.Certificate) {
	key := newKey()
	template := base(pkix.Name{CommonName: "o365mailer test cluster"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	certificate, err := x509.ParseCertificate(der)
	check(err)
	return key, certificate
}

func issue(wanted subject, key *ecdsa.PrivateKey, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey) []byte {
	template := base(pkix.Name{CommonName: wanted.CommonName, Organization: wanted.Organization})
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	template.DNSNames = wanted.DNSNames
	for _, address := range wanted.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), authorityKey)
	check(err)
	return der
}

func base(name pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	check(err)
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: name, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime)}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	return key
}

func writeKey(directory, name string, key *ecdsa.PrivateKey) {
	der, err := x509.MarshalECPrivateKey(key)
	check(err)
	write(directory, name, "EC PRIVATE KEY", der, 0o600)
}

func write(directory, name, kind string, der []byte, mode os.FileMode) {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	check(os.WriteFile(filepath.Join(directory, name), block, mode))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
