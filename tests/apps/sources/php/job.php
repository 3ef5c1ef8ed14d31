<?php
// What the driver asks for, and the one line of JSON that answers it.
function asked(string $name): string
{
    return (string) getenv($name);
}

function recipients(): array
{
    return explode(",", asked("RECIPIENTS"));
}

function report(callable $send): void
{
    try {
        [$told, $text] = [$send(), ""];
    } catch (Throwable $error) {
        [$told, $text] = [(new ReflectionClass($error))->getShortName(), $error->getMessage()];
    }
    echo json_encode(["told" => $told, "text" => $text], JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
