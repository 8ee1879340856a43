# frozen_string_literal: true

# The runtime loop of Ruby functions: asks the Runtime API for an event, calls the
# handler, posts what it returns. AWS's own client cannot be had from a package
# registry; this one gives handlers the same arguments, and callers the same errors.

require 'json'
require 'logger'
require 'net/http'
require 'stringio'

module Lambda
  API = '/2018-06-01/runtime'
  ERROR_TYPE = 'Lambda-Runtime-Function-Error-Type'
  XRAY_CAUSE = 'Lambda-Runtime-Function-XRay-Error-Cause'
  XRAY_CAUSE_BYTES = 1024 * 1024

  # What a handler gets as `context:`.
  class Context
    attr_reader :aws_request_id, :invoked_function_arn, :deadline_ms, :identity,
                :client_context, :tenant_id, :function_name, :function_version,
                :memory_limit_in_mb, :log_group_name, :log_stream_name

    def initialize(headers)
      @aws_request_id = headers['Lambda-Runtime-Aws-Request-Id']
      @invoked_function_arn = headers['Lambda-Runtime-Invoked-Function-Arn']
      @deadline_ms = headers['Lambda-Runtime-Deadline-Ms'].to_i
      @identity = parsed(headers['Lambda-Runtime-Cognito-Identity'])
      @client_context = parsed(headers['Lambda-Runtime-Client-Context'])
      @tenant_id = headers['Lambda-Runtime-Aws-Tenant-Id']
      @function_name = ENV['AWS_LAMBDA_FUNCTION_NAME']
      @function_version = ENV['AWS_LAMBDA_FUNCTION_VERSION']
      @memory_limit_in_mb = ENV['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
      @log_group_name = ENV['AWS_LAMBDA_LOG_GROUP_NAME']
      @log_stream_name = ENV['AWS_LAMBDA_LOG_STREAM_NAME']
    end

    def get_remaining_time_in_millis
      [deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
    end

    private

    def parsed(text)
      text && JSON.parse(text)
    end
  end

  # Writes log records of several lines so that each stays one event, where the
  # platform offers a descriptor for them (frames: type, length, microseconds).
  class Records
    TEXT = 0xA55A0003
    ERROR = 0x14

    def initialize(descriptor)
      @output = descriptor && IO.for_fd(descriptor.to_i, 'wb', autoclose: false)
      @output&.sync = true
    end

    def error(text)
      return $stderr.puts(text) unless @output

      now = Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)
      @output.write([TEXT | ERROR, text.bytesize, now].pack('NNQ>') + text.b)
    end
  end

  # Lines of a Logger carry the request's id.
  class Formatter < ::Logger::Formatter
    FORMAT = "%<letter>s, [%<time>s #%<pid>d] %<level>5s %<id>s -- %<progname>s: %<text>s\n"
    @request_id = nil
    class << self
      attr_accessor :request_id
    end

    def call(severity, time, progname, message)
      format(FORMAT, letter: severity[0], time: format_datetime(time), pid: Process.pid,
                     level: severity, id: Formatter.request_id, progname: progname,
                     text: msg2str(message))
    end
  end

  # Loggers that choose no formatter of their own get ours.
  module Logging
    def initialize(*arguments, formatter: Formatter.new, **options)
      super
    end
  end

  # The handler that `_HANDLER` names: `file.method` or `file.Module::Class.method`.
  class Handler
    def initialize(name)
      @file, *@names = name.split('.')
      return if @names.length.between?(1, 2)

      raise ArgumentError, "Invalid handler #{name}, must be of form FILENAME.METHOD or " \
                           'FILENAME.CLASS.METHOD where FILENAME corresponds with an existing ' \
                           'Ruby source file FILENAME.rb, CLASS is an optional module/class ' \
                           'namespace and METHOD is a callable method.'
    end

    def load
      require @file
    end

    def call(event, context)
      *owner, method = @names
      target = owner.empty? ? TOPLEVEL_BINDING.receiver : Object.const_get(owner.first)
      target.send(method, event: event, context: context)
    end
  end

  # One connection to the Runtime API, for the life of the process.
  class Runtime
    def initialize
      @records = Records.new(ENV.delete('_LAMBDA_TELEMETRY_LOG_FD'))
      host, port = ENV.fetch('AWS_LAMBDA_RUNTIME_API').split(':')
      @http = Net::HTTP.new(host, port.to_i, nil)
      @http.read_timeout = nil
      @http.keep_alive_timeout = 2**31
      @http.max_retries = 0
      @http.start
    end

    def run
      handler = start
      loop { serve(handler) }
    end

    private

    def start
      handler = Handler.new(ENV.fetch('_HANDLER'))
      handler.load
      handler
    rescue StandardError, ScriptError => e
      report(e, 'Init', "#{API}/init/error", 'Init error when loading handler')
      exit!(1)
    end

    def serve(handler)
      event = @http.get("#{API}/invocation/next", 'Accept' => '*/*')
      context = Context.new(event)
      Formatter.request_id = context.aws_request_id
      ENV['_X_AMZN_TRACE_ID'] = event['Lambda-Runtime-Trace-Id']
      path = "#{API}/invocation/#{context.aws_request_id}"
      begin
        body, type = encoded(handler.call(JSON.parse(event.body.force_encoding('UTF-8')), context))
        flush
        @http.post("#{path}/response", body, 'Content-Type' => type)
      rescue StandardError, ScriptError, NoMemoryError, SystemStackError => e
        report(e, 'Function', "#{path}/error", 'Error raised from handler method')
        # What no handler should rescue leaves the process in an unknown state.
        exit!(255) unless e.is_a?(StandardError)
      end
    end

    def encoded(result)
      return [result.read, 'application/unknown'] if result.is_a?(StringIO) || result.is_a?(IO)

      [JSON.generate(result), 'application/json']
    end

    def report(error, phase, path, message)
      type = "#{phase}<#{error.class}>"
      trace = (error.backtrace || []).reject { |line| line.start_with?(__FILE__, '<internal:') }
      document = { errorMessage: error.message.dup.force_encoding('UTF-8').scrub,
                   errorType: type, stackTrace: trace }
      @records.error("#{message}\n#{JSON.pretty_generate(document)}\n")
      flush
      cause = JSON.generate(working_directory: '/var/task', exceptions: [
                              { type: type, message: document[:errorMessage] }
                            ])
      headers = { 'Content-Type' => 'application/vnd.aws.lambda.error+json', ERROR_TYPE => type }
      headers[XRAY_CAUSE] = cause if cause.bytesize <= XRAY_CAUSE_BYTES && cause.ascii_only?
      @http.post(path, JSON.generate(document), headers)
    end

    def flush
      $stdout.flush
      $stderr.flush
    end
  end
end

Logger.prepend(Lambda::Logging)
$stdout.sync = true
Lambda::Runtime.new.run
