// nodemailer: an SMTP transport with its defaults, which use STARTTLS where it is offered.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const nodemailer = createRequire(process.env.MODULES + "/")("nodemailer");
const { HOST, PORT, SENDER, RECIPIENTS, SUBJECT, TEXT, ATTACHMENT, LOGIN, SECRET, STARTTLS } = process.env;

const transport = nodemailer.createTransport({
  host: HOST,
  port: Number(PORT),
  secure: false,
  requireTLS: Boolean(STARTTLS),
  ...(LOGIN && { auth: { user: LOGIN, pass: SECRET } }),
});
const message = {
  from: SENDER,
  to: RECIPIENTS.split(","),
  subject: SUBJECT,
  text: readFileSync(TEXT, "utf8"),
  ...(ATTACHMENT && { attachments: [{ filename: "all.bin", path: ATTACHMENT }] }),
};
try {
  const { rejected, rejectedErrors } = await transport.sendMail(message);
  const told = rejected.length ? "resolves, rejected" : "ok";
  console.log(JSON.stringify({ told, text: (rejectedErrors ?? []).map(String).join("; ") }));
} catch (error) {
  console.log(JSON.stringify({ told: error.code, text: error.message }));
}
