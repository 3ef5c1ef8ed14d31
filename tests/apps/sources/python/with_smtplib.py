"""The standard library's smtplib."""

import email.message
import smtplib

import job


def send() -> object:
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = job.SENDER, ", ".join(job.RECIPIENTS), job.SUBJECT
    message.set_content(job.TEXT)
    if job.ATTACHMENT:
        data = job.ATTACHMENT.read_bytes()
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename="all.bin")
    with smtplib.SMTP(job.HOST, job.PORT) as client:
        if job.STARTTLS:
            client.starttls()
        if job.LOGIN:
            client.login(job.LOGIN, job.SECRET)
        return client.send_message(message)


job.report(send)
