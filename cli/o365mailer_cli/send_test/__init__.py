"""`o365mailer send-test`: one real mail from an injected Job, and Exchange's verdict on it."""
