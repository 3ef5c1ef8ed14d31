<?php
// Symfony Mailer, as Debian ships it (php-symfony-mailer); Laravel sends with it too.
require __DIR__ . "/job.php";
require "Symfony/Component/Mailer/autoload.php";

use Symfony\Component\Mailer\Mailer;
use Symfony\Component\Mailer\Transport;
use Symfony\Component\Mime\Email;

report(function (): string {
    $login = asked("LOGIN") ? rawurlencode(asked("LOGIN")) . ":" . rawurlencode(asked("SECRET")) . "@" : "";
    $scheme = asked("STARTTLS") ? "smtps" : "smtp";
    $mailer = new Mailer(Transport::fromDsn("$scheme://$login" . asked("HOST") . ":" . asked("PORT")));
    $mail = (new Email())->from(asked("SENDER"))->to(...recipients())->subject(asked("SUBJECT"));
    $mail->text(file_get_contents(asked("TEXT")));
    if (asked("ATTACHMENT")) {
        $mail->attachFromPath(asked("ATTACHMENT"), "all.bin");
    }
    $mailer->send($mail);
    return "ok";
});
