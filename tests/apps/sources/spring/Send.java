// Jakarta Mail as Spring Boot configures it: a JavaMailSender with the properties that spring.mail.* become.
import jakarta.mail.internet.MimeMessage;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import org.springframework.mail.javamail.JavaMailSenderImpl;
import org.springframework.mail.javamail.MimeMessageHelper;

public class Send {
    public static void main(String[] arguments) {
        String told = "ok";
        String text = "";
        try {
            send();
        } catch (Exception error) {
            told = error.getClass().getSimpleName();
            text = error.getMessage();
        }
        System.out.println("{\"told\": " + quoted(told) + ", \"text\": " + quoted(text) + "}");
    }

    static void send() throws Exception {
        JavaMailSenderImpl sender = new JavaMailSenderImpl();
        sender.setHost(asked("HOST"));
        sender.setPort(Integer.parseInt(asked("PORT")));
        sender.setDefaultEncoding("UTF-8");
        Properties properties = sender.getJavaMailProperties();
        properties.put("mail.smtp.localhost", "localhost");
        properties.put("mail.mime.allowutf8", "true");
        properties.put("mail.smtp.starttls.enable", "true");
        if (!asked("STARTTLS").isEmpty()) {
            properties.put("mail.smtp.starttls.required", "true");
        }
        if (!asked("LOGIN").isEmpty()) {
            properties.put("mail.smtp.auth", "true");
            sender.setUsername(asked("LOGIN"));
            sender.setPassword(asked("SECRET"));
        }
        MimeMessage message = sender.createMimeMessage();
        MimeMessageHelper helper = new MimeMessageHelper(message, !asked("ATTACHMENT").isEmpty());
        helper.setFrom(asked("SENDER"));
        helper.setTo(asked("RECIPIENTS").split(","));
        helper.setSubject(asked("SUBJECT"));
        helper.setText(Files.readString(Path.of(asked("TEXT"))));
        if (!asked("ATTACHMENT").isEmpty()) {
            helper.addAttachment("all.bin", new File(asked("ATTACHMENT")));
        }
        sender.send(message);
    }

    static String asked(String name) {
        return System.getenv(name);
    }

    static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            quoted.append(c == '"' || c == '\\' ? "\\" + c : c < ' ' ? " " : String.valueOf(c));
        }
        return quoted.append('"').toString();
    }
}
