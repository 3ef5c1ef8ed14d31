"""aiosmtplib, with its defaults: STARTTLS where it is offered."""

import asyncio
import email.message

import aiosmtplib
import job


async def deliver() -> object:
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = job.SENDER, ", ".join(job.RECIPIENTS), job.SUBJECT
    message.set_content(job.TEXT)
    if job.ATTACHMENT:
        data = job.ATTACHMENT.read_bytes()
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename="all.bin")
    refused, _ = await aiosmtplib.send(
        message,
        hostname=job.HOST,
        port=job.PORT,
        username=job.LOGIN or None,
        password=job.SECRET if job.LOGIN else None,
        start_tls=True if job.STARTTLS else None,
    )
    return refused


job.report(lambda: asyncio.run(deliver()))
