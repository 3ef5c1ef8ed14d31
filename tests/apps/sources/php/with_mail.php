<?php
// PHP's mail(), which runs a sendmail binary: here msmtp (php.ini's sendmail_path).
require __DIR__ . "/job.php";

report(function (): string {
    $text = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n";
    $headers = "From: " . asked("SENDER") . "\nMIME-Version: 1.0\n";
    $body = file_get_contents(asked("TEXT"));
    if (asked("ATTACHMENT")) {
        $headers .= "Content-Type: multipart/mixed; boundary=between-two-parts\n";
        $attached = "Content-Type: application/octet-stream; name=all.bin\nContent-Transfer-Encoding: base64\n\n"
            . chunk_split(base64_encode(file_get_contents(asked("ATTACHMENT"))), 76, "\n");
        $body = "--between-two-parts\n$text\n$body\n--between-two-parts\n$attached--between-two-parts--\n";
    } else {
        $headers .= $text;
    }
    $subject = mb_encode_mimeheader(asked("SUBJECT"), "UTF-8", "B");
    $sent = mail(implode(", ", recipients()), $subject, $body, $headers, "-f" . asked("SENDER"));
    return $sent ? "ok" : "returns false";
});
