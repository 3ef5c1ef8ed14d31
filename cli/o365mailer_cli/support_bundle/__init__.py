"""`o365mailer support-bundle`: what a person who helps needs to see, as one file that may be sent to them.

Everything in it was chosen: fields that are named here, of a form that is named here. What another person wrote freely
(environments, arguments, annotations, labels, messages of Events and logs) is left out, because it may be a secret, a
body or an address. Where a free text matters, the bundle has the known phrases that it contained.
"""
