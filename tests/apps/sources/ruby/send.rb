# Ruby's net/smtp. It builds no messages, so it is given one.
require "json"
require "net/smtp"

smtp = Net::SMTP.new(ENV["HOST"], ENV["PORT"].to_i, starttls: ENV["STARTTLS"].empty? ? :auto : :always)
login = ENV["LOGIN"].empty? ? {} : { user: ENV["LOGIN"], secret: ENV["SECRET"], authtype: :plain }
begin
  smtp.start(helo: "localhost", **login) do |session|
    session.send_message(File.read(ENV["MESSAGE"], encoding: "UTF-8"), ENV["SENDER"], *ENV["RECIPIENTS"].split(","))
  end
  told, text = "ok", ""
rescue StandardError => error
  told, text = error.class.name, error.message
end
puts JSON.generate({ told: told, text: text })
