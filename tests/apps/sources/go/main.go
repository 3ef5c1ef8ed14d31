// Go's net/smtp: SendMail, as most programs use it. It builds no messages, so it is given one.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
)

func main() {
	told, text := "ok", ""
	if err := send(); err != nil {
		told, text = fmt.Sprintf("%T", err), err.Error()
		var protocol *textproto.Error
		if errors.As(err, &protocol) {
			told = fmt.Sprintf("%T", protocol)
		}
	}
	json.NewEncoder(os.Stdout).Encode(map[string]string{"told": told, "text": text})
}

func send() error {
	message, err := os.ReadFile(os.Getenv("MESSAGE"))
	if err != nil {
		return err
	}
	message = bytes.ReplaceAll(message, []byte("\n"), []byte("\r\n"))
	host := os.Getenv("HOST")
	address := net.JoinHostPort(host, os.Getenv("PORT"))
	if os.Getenv("STARTTLS") != "" {
		client, err := smtp.Dial(address)
		if err != nil {
			return err
		}
		defer client.Close()
		return client.StartTLS(&tls.Config{ServerName: host})
	}
	var login smtp.Auth
	if user := os.Getenv("LOGIN"); user != "" {
		login = smtp.PlainAuth("", user, os.Getenv("SECRET"), host)
	}
	return smtp.SendMail(address, login, os.Getenv("SENDER"), strings.Split(os.Getenv("RECIPIENTS"), ","), message)
}
