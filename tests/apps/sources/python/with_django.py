"""Django's mail, configured as a settings module does it."""

import django
import job
from django.conf import settings
from django.core.mail import EmailMessage

settings.configure(
    EMAIL_HOST=job.HOST,
    EMAIL_PORT=job.PORT,
    EMAIL_HOST_USER=job.LOGIN,
    EMAIL_HOST_PASSWORD=job.SECRET if job.LOGIN else "",
    EMAIL_USE_TLS=job.STARTTLS,
)
django.setup()


def send() -> None:
    message = EmailMessage(job.SUBJECT, job.TEXT, job.SENDER, job.RECIPIENTS)
    if job.ATTACHMENT:
        message.attach("all.bin", job.ATTACHMENT.read_bytes(), "application/octet-stream")
    assert message.send() == 1


job.report(send)
