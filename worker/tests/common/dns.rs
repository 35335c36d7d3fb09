//! A name server on the loopback whose answers each test decides.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::MX;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// What the server says of a name.
#[derive(Debug, Clone, Copy)]
pub enum Says {
    /// These mail servers.
    Mx(&'static [&'static str]),
    /// That there is no such name, or that it cannot tell.
    Code(ResponseCode),
    /// Nothing at all.
    Nothing,
}

/// A name server. Its thread ends with the test.
pub struct NameServer {
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Starts it; `answer` gets each name and how often it was asked for before.
    pub fn start(answer: impl Fn(&str, usize) -> Says + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = reply(&buffer[..length], &log, &answer) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, asked }
    }

    /// The names asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no answer panicked").clone()
    }
}

fn reply(
    question: &[u8],
    log: &Mutex<Vec<String>>,
    answer: &impl Fn(&str, usize) -> Says,
) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).expect("a DNS message");
    let query = message.queries[0].clone();
    assert_eq!(query.query_type(), RecordType::MX);
    let name = query.name().to_string().to_lowercase();
    let before = {
        let mut log = log.lock().expect("no answer panicked");
        log.push(name.clone());
        log.iter().filter(|earlier| **earlier == name).count() - 1
    };
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.edns = None;
    match answer(&name, before) {
        Says::Nothing => return None,
        Says::Code(code) => message.metadata.response_code = code,
        Says::Mx(servers) => {
            for server in servers {
                let server = Name::from_ascii(server).expect(server);
                let data = RData::MX(MX::new(10, server));
                message.add_answer(Record::from_rdata(query.name().clone(), 600, data));
            }
        }
    }
    Some(message.to_vec().expect("a DNS message"))
}
