<?php
// PHPMailer, as Debian ships it (libphp-phpmailer), with SMTPAutoTLS as it is.
require __DIR__ . "/job.php";
require "libphp-phpmailer/autoload.php";

use PHPMailer\PHPMailer\Exception;
use PHPMailer\PHPMailer\PHPMailer;

report(function (): string {
    $mail = new PHPMailer(true);
    $mail->isSMTP();
    $mail->Host = asked("HOST");
    $mail->Port = (int) asked("PORT");
    $mail->CharSet = PHPMailer::CHARSET_UTF8;
    if (asked("STARTTLS")) {
        $mail->SMTPSecure = PHPMailer::ENCRYPTION_STARTTLS;
    }
    if (asked("LOGIN")) {
        $mail->SMTPAuth = true;
        $mail->Username = asked("LOGIN");
        $mail->Password = asked("SECRET");
    }
    $mail->setFrom(asked("SENDER"));
    foreach (recipients() as $recipient) {
        $mail->addAddress($recipient);
    }
    $mail->Subject = asked("SUBJECT");
    $mail->Body = file_get_contents(asked("TEXT"));
    if (asked("ATTACHMENT")) {
        $mail->addAttachment(asked("ATTACHMENT"), "all.bin");
    }
    try {
        $mail->send();
    } catch (Exception $error) {  // its own text has the reply in ErrorInfo, where every example looks for it
        throw new Exception($mail->ErrorInfo);
    }
    return "ok";
});
