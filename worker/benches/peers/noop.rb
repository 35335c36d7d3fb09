# A Sidekiq job that does nothing. `ruby noop.rb COUNT` enqueues so many.
require 'sidekiq'

class Noop
  include Sidekiq::Worker

  def perform(_lead); end
end

if $PROGRAM_NAME == __FILE__
  Array.new(ARGV[0].to_i) { |n| [n] }.each_slice(1_000) do |args|
    Sidekiq::Client.push_bulk('class' => Noop, 'args' => args)
  end
end
