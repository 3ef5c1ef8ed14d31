"""Flask-Mail."""

import flask
import flask_mail
import job

app = flask.Flask(__name__)
app.config.update(
    MAIL_SERVER=job.HOST,
    MAIL_PORT=job.PORT,
    MAIL_USERNAME=job.LOGIN or None,
    MAIL_PASSWORD=job.SECRET if job.LOGIN else None,
    MAIL_USE_TLS=job.STARTTLS,
)
mail = flask_mail.Mail(app)


def send() -> None:
    message = flask_mail.Message(job.SUBJECT, sender=job.SENDER, recipients=job.RECIPIENTS, body=job.TEXT)
    if job.ATTACHMENT:
        message.attach("all.bin", "application/octet-stream", job.ATTACHMENT.read_bytes())
    with app.app_context():
        mail.send(message)


job.report(send)
